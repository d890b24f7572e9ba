//! Two people talk in two terminals, through a server and programs that are killed.

mod terminal;

use std::time::Duration;

use terminal::{Chat, Plain, Server, dir, without_time};

#[test]
fn who_comes_back_has_everything_in_order_once() {
    let dir = dir("comes-back");
    let server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    let mut two = Chat::start(&server, &dir, 2, 1);
    one.say("hello");
    one.sees("✓ hello");
    two.sees("< hello");
    two.say("good day");
    one.sees("< good day");
    two.say("/quit");
    two.ended();
    for number in 1..=50 {
        one.say(&format!("message {number}."));
    }
    one.sees("✓ message 50.");
    let mut two = Chat::start(&server, &dir, 2, 1);
    two.sees("< message 50.");
    let mut expected = vec!["< hello".to_owned(), "✓ good day".to_owned()];
    expected.extend((1..=50).map(|number| format!("< message {number}.")));
    assert_eq!(two.conversation(), expected);
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn a_killed_server_loses_nothing_that_showed_as_sent() {
    let dir = dir("server-killed");
    let mut server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    let mut two = Chat::start(&server, &dir, 2, 1);
    one.sees("online");
    two.sees("online");
    for number in 1..=20 {
        one.say(&format!("from one {number}."));
        two.say(&format!("from two {number}."));
        if number == 10 {
            server.kill();
        }
    }
    one.sees("○ from one 20.");
    one.sees("offline");
    two.sees("○ from two 20.");
    // What is queued outlives its program too.
    one.kill();
    server.restart();
    let mut one = Chat::start(&server, &dir, 1, 2);
    for (chat, own, other) in [(&mut one, "one", "two"), (&mut two, "two", "one")] {
        chat.sees(&format!("✓ from {own} 20."));
        chat.sees(&format!("< from {other} 20."));
        let shown = chat.conversation();
        for (mark, who) in [("✓", own), ("<", other)] {
            let theirs = shown.iter().filter(|line| line.contains(&format!("from {who}")));
            let expected = (1..=20).map(|number| format!("{mark} from {who} {number}."));
            assert!(theirs.eq(&expected.collect::<Vec<_>>()), "{shown:#?}");
        }
    }
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn trouble_is_said_in_a_line() {
    let dir = dir("trouble");
    let server = Server::start(&dir);
    let wrong = Chat::plain(&server.address, "no.such.token", &dir.join("wrong"));
    assert!(wrong.contains("does not accept this token"), "{wrong}");
    let first = Chat::plain(&server.address, &server.token(1), &dir.join("chat"));
    assert_eq!(first, "");
    let foreign = Chat::plain(&server.address, &server.token(2), &dir.join("chat"));
    assert!(foreign.contains("belongs to device 1 of user 1"), "{foreign}");
    let mut open = Chat::start(&server, &dir, 3, 1);
    open.sees("online");
    let twice = Chat::plain(&server.address, &server.token(3), &dir.join("chat-3"));
    assert!(twice.contains("in use"), "{twice}");
    drop(server);
    open.sees_within("offline", Duration::from_secs(10));
    open.sees("next try in");
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn plain_lines_say_once_and_whole_why_it_is_offline() {
    let dir = dir("plain");
    let mut server = Server::start(&dir);
    let (token, journal) = (server.token(1), dir.join("chat"));
    let mut chat = Plain::start(&server, &token, &journal, 2);
    chat.sees("! online");
    server.kill();
    chat.sees("! offline (the server closed)");
    chat.say("10:15: still here?");
    chat.sees("○ 2: 10:15: still here?");
    // Time for some tries that fail.
    std::thread::sleep(Duration::from_secs(3));
    server.restart();
    chat.sees("✓ 2: 10:15: still here?");
    let lines = chat.lines();
    let links: Vec<_> = lines.iter().filter(|line| line.starts_with('!')).collect();
    assert_eq!(links, ["! online", "! offline (the server closed)", "! online"]);
    drop(chat);
    server.kill();
    let chat = Plain::start(&server, &token, &journal, 2);
    chat.sees(&format!("! offline ({}: Connection refused (os error 111))", server.address));
    let first = chat.lines().remove(0);
    let past = first.strip_prefix("    2: ").expect("the past is indented");
    assert_eq!(without_time(past), "✓ 10:15: still here?");
    std::fs::remove_dir_all(dir).expect("own directory");
}
