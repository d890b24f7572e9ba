//! Two people talk in two terminals, through a server and programs that are killed.

mod terminal;

use std::time::Duration;

use vt100::Color;

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
    let twice = Chat::plain(&server.address, &server.token(3), &dir.join("chat-3-1"));
    assert!(twice.contains("in use"), "{twice}");
    drop(server);
    open.sees_within("offline", Duration::from_secs(10));
    open.sees("next try in");
    std::fs::remove_dir_all(dir).expect("own directory");
}

/// ratatui's cyan.
const READ: Color = Color::Idx(6);

#[test]
fn receipts_presence_and_typing_are_shown() {
    let dir = dir("receipts");
    let server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    // Its user looks at another conversation: delivered, not read.
    let mut two = Chat::start(&server, &dir, 2, 3);
    one.sees("2 · online");
    one.say("anybody there?");
    two.sees("1 (1)");
    one.sees_in("✓✓ anybody there?", Color::Default);
    one.sees("2 · online");
    two.say("/to 1");
    two.sees("< anybody there?");
    two.sees_no("1 (1)");
    one.sees_in("✓✓ anybody there?", READ);
    two.press("I am");
    one.sees("2 · typing …");
    two.say(" here");
    one.sees("< I am here");
    one.sees("2 · online");
    two.say("/quit");
    two.ended();
    one.sees("2 · last seen at");
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn a_second_device_has_own_sends_and_read_marks() {
    let dir = dir("second-device");
    let server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    let mut first = Chat::start_device(&server, &dir, (2, 1), 3);
    let mut second = Chat::start_device(&server, &dir, (2, 2), 3);
    one.say("to both");
    first.sees("1 (1)");
    second.sees("1 (1)");
    first.say("/to 1");
    first.sees("< to both");
    second.sees_no("1 (1)");
    first.say("from the first");
    one.sees("< from the first");
    second.say("/to 1");
    second.sees("✓ from the first");
    // Read on any device is read on all.
    first.sees_in("✓✓ from the first", READ);
    second.sees_in("✓✓ from the first", READ);
    second.say("/devices");
    second.sees("device 2 terminal ringmail-chat");
    second.sees("(this one)");
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn a_new_device_scrolls_back_to_the_first_message() {
    let dir = dir("scrolls");
    let server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    for number in 1..=150 {
        one.say(&format!("message {number}."));
        // The terminal library reads 1,024 bytes, and the rest only with the next key.
        if number % 50 == 0 {
            one.sees(&format!("✓ message {number}."));
        }
    }
    let mut new = Chat::start_device(&server, &dir, (1, 7), 2);
    new.sees("✓ message 150.");
    for number in [75, 50, 1] {
        new.presses_until("\x1b[5~", &format!("✓ message {number}."));
    }
    let shown = new.conversation();
    assert_eq!(shown[..2], ["✓ message 1.", "✓ message 2."], "{shown:#?}");
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn edits_deletions_and_blocks_take_effect() {
    let dir = dir("edits");
    let server = Server::start(&dir);
    let mut one = Chat::start(&server, &dir, 1, 2);
    let mut two = Chat::start(&server, &dir, 2, 1);
    one.say("helo");
    two.sees("< helo");
    one.say("/edit hello");
    two.sees("< hello (edited)");
    one.sees("hello (edited)");
    one.say("a secret");
    two.sees("< a secret");
    one.say("/delete");
    two.sees_no("a secret");
    two.sees("< (deleted)");
    two.say("/contact 1 Anna");
    two.sees("Anna (1)");
    two.say("/block 1");
    two.say("/contacts");
    two.sees("user 1 Anna");
    one.say("/edit #2 no");
    one.sees("there is no message of your own at 2");
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
