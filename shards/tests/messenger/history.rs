//! History: pages of a conversation, from the log's tail and the store.

use crate::commands::give;
use crate::world::{Client, World, id, limits};
use shards::Limits;
use wire::{
    ClientFrame, Command, Conv, Direction, End, History, HistoryKind, OutboxId, RefusalCode, Send,
    SendKey, Seq, ServerFrame,
};

/// Sends messages number `first` to `last`, their numbers as bodies.
pub fn talk(world: &mut World, client: Client, peer: u64, first: u64, last: u64) {
    for n in first..=last {
        let key = SendKey { conv: Conv::Direct(peer), outbox: None, n };
        let body = n.to_string();
        world.send(client, ClientFrame::Send(Send { key, change: None, body: body.as_bytes() }));
        if n % 50 == 0 {
            world.run_ms(5);
        }
    }
    world.run_ms(10);
}

/// Everything is flushed, and the log lets go of it: some checkpoints of every core pass.
pub fn flush(world: &mut World) {
    for _ in 0..4 {
        for user in 1_000..1_008 {
            let passer_by = world.attach(user, 1, false);
            world.cut(passer_by);
        }
        world.run_ms(20);
    }
}

/// Limits under which the log keeps little.
pub fn flushing() -> Limits {
    Limits {
        flush_ms: 10,
        cursor_ms: 10,
        receipt_rest_ms: 0,
        attach_burst: 1_000,
        ..Limits::default()
    }
}

fn ask(world: &mut World, client: Client, from: Seq, newer: bool, limit: u64) {
    let direction = if newer { Direction::Newer } else { Direction::Older };
    let conv = Conv::Direct(2);
    let history = History { request: 7, conv, from, direction, limit };
    world.send(client, ClientFrame::History(history));
    world.run_ms(10);
}

/// Items as (place, what), and the end.
fn answer(world: &mut World, client: Client) -> (Vec<(Seq, String)>, Option<End>) {
    let mut end = None;
    let items = world.take(client, |frame| match frame {
        ServerFrame::HistoryItem(item) => {
            assert_eq!(item.request, 7);
            let own = if item.own.is_some() { "own " } else { "" };
            let what = match item.kind {
                HistoryKind::Message { body, edited_by: None } => {
                    String::from_utf8_lossy(body).into_owned()
                }
                kind => format!("{kind:?}"),
            };
            Some((item.conv_seq, format!("{own}{what}")))
        }
        ServerFrame::End(told) => {
            end = Some(told);
            None
        }
        _ => None,
    });
    (items, end)
}

fn page(world: &mut World, client: Client, from: Seq, newer: bool, limit: u64) -> Vec<Seq> {
    ask(world, client, from, newer, limit);
    let (items, end) = answer(world, client);
    let head = end.expect("a page ends").head;
    assert!(items.iter().all(|(seq, what)| *what == seq.to_string() && *seq <= head));
    items.into_iter().map(|(seq, _)| seq).collect()
}

/// User 1 reads what user 2 wrote: with one core and with two, from the tail and from the store.
fn worlds() -> Vec<(World, Client, Client)> {
    let worlds = [1, 2, 3].map(|cores| {
        let mut world = World::with_store(cores, flushing());
        let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
        (world, reader, writer)
    });
    worlds.into()
}

#[test]
fn pages_go_both_ways_over_tail_and_store_without_a_hole() {
    for (mut world, reader, writer) in worlds() {
        talk(&mut world, writer, 1, 1, 60);
        flush(&mut world);
        // The newest are in the log only.
        talk(&mut world, writer, 1, 61, 90);
        assert_eq!(page(&mut world, reader, 0, false, 100), (1..=90).rev().collect::<Vec<_>>());
        assert_eq!(page(&mut world, reader, 70, false, 20), (51..=70).rev().collect::<Vec<_>>());
        assert_eq!(page(&mut world, reader, 55, true, 10), (55..=64).collect::<Vec<_>>());
        assert_eq!(page(&mut world, reader, 0, true, 3), [1, 2, 3]);
        assert_eq!(page(&mut world, reader, 91, true, 3), [0; 0]);
        assert_eq!(page(&mut world, reader, 900, false, 1), [90]);
        ask(&mut world, reader, 20, false, 15);
        let (_, end) = answer(&mut world, reader);
        assert_eq!(end, Some(End { request: 7, next: 5, head: 90 }));
        ask(&mut world, reader, 15, false, 15);
        assert_eq!(answer(&mut world, reader).1.map(|end| end.next), Some(0));
        ask(&mut world, reader, 80, true, 11);
        assert_eq!(answer(&mut world, reader).1.map(|end| end.next), Some(0));
    }
}

#[test]
fn own_messages_say_which_send_they_are() {
    let mut world = World::with_store(2, flushing());
    let (reader, _peer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    talk(&mut world, reader, 2, 1, 2);
    for _ in 0..2 {
        ask(&mut world, reader, 0, false, 2);
        let names = world.take(reader, |frame| match frame {
            ServerFrame::HistoryItem(item) => item.own,
            _ => None,
        });
        assert_eq!(names.iter().map(|own| own.n).collect::<Vec<_>>(), [2, 1]);
        assert!(names.iter().all(|own| own.outbox == OutboxId(1)));
        assert_eq!(names[1].hash, wire::body_hash(b"1"));
        flush(&mut world);
    }
}

#[test]
fn nothing_undurable_is_shown() {
    let mut world = World::with_store(2, limits());
    let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    talk(&mut world, writer, 1, 1, 3);
    world.hold_disks(true);
    talk(&mut world, writer, 1, 4, 5);
    // One core waits for its log, the other may answer: with what is durable, or not at all.
    ask(&mut world, reader, 0, false, 10);
    let (items, _) = answer(&mut world, reader);
    assert!(items.iter().all(|(seq, _)| *seq <= 3), "{items:?}");
    world.hold_disks(false);
    world.run_ms(20);
    let (late, _) = answer(&mut world, reader);
    assert!(items.len() + late.len() == 3, "{late:?}");
    assert_eq!(page(&mut world, reader, 0, false, 10), [5, 4, 3, 2, 1]);
}

#[test]
fn a_page_asked_before_a_flush_and_answered_after_misses_nothing() {
    let mut world = World::with_store(2, flushing());
    let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    talk(&mut world, writer, 1, 1, 30);
    flush(&mut world);
    talk(&mut world, writer, 1, 31, 40);
    world.hold_store(true);
    ask(&mut world, reader, 0, false, 100);
    // Meanwhile the log lets go of all of it.
    flush(&mut world);
    world.hold_store(false);
    world.run_ms(20);
    let (items, _) = answer(&mut world, reader);
    assert_eq!(items.len(), 40);
}

#[test]
fn what_the_store_lost_is_a_gap_and_what_is_hidden_says_nothing() {
    let mut world = World::with_store(2, flushing());
    let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    talk(&mut world, writer, 1, 1, 9);
    flush(&mut world);
    let conv = persistence::ConvKey::new(id(1), id(2)).expect("two");
    world.store().lose(conv, 4);
    world.store().lose(conv, 1);
    let hide = Command::DeleteForMe { conv: Conv::Direct(2), first: 6, last: 7 };
    give(&mut world, reader, 1, hide);
    world.run_ms(10);
    ask(&mut world, reader, 0, false, 100);
    let (items, end) = answer(&mut world, reader);
    let what: Vec<&str> = items.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(what, ["9", "8", "Hidden", "Hidden", "5", "Gap", "3", "2", "Gap"]);
    assert_eq!(end.map(|end| end.next), Some(0));
    ask(&mut world, reader, 3, true, 4);
    let (items, end) = answer(&mut world, reader);
    let what: Vec<&str> = items.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!((what, end.map(|end| end.next)), (vec!["3", "Gap", "5", "Hidden"], Some(7)));
    // The other participant sees all that is there.
    let history = History {
        request: 7,
        conv: Conv::Direct(1),
        from: 7,
        direction: Direction::Older,
        limit: 2,
    };
    world.send(writer, ClientFrame::History(history));
    world.run_ms(10);
    assert_eq!(answer(&mut world, writer).0, [(7, "own 7".into()), (6, "own 6".into())]);
}

#[test]
fn a_page_ends_where_bytes_or_output_do_and_goes_on_there() {
    let limits = Limits { output_bytes_max: 4_096, ..flushing() };
    let mut world = World::with_store(2, limits);
    let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    for n in 1..=10 {
        let key = SendKey { conv: Conv::Direct(1), outbox: None, n };
        let body = [n as u8; 1_500];
        world.send(writer, ClientFrame::Send(Send { key, change: None, body: &body }));
        world.run_ms(60);
    }
    let _ = answer(&mut world, reader);
    for newer in [false, true] {
        let (mut all, mut from, mut pages) = (Vec::new(), 0, 0);
        loop {
            ask(&mut world, reader, from, newer, 100);
            let (items, end) = answer(&mut world, reader);
            assert!((1..=4).contains(&items.len()), "{}", items.len());
            all.extend(items.into_iter().map(|(seq, _)| seq));
            (from, pages) = (end.expect("it ends").next, pages + 1);
            if from == 0 {
                break;
            }
        }
        if !newer {
            all.reverse();
        }
        assert_eq!(all, (1..=10).collect::<Vec<_>>());
        assert!(pages >= 3);
    }
}

#[test]
fn pages_of_a_session_come_one_after_the_other_and_have_a_quota() {
    let limits = Limits { page_burst: 3, page_ms: 1_000, ..limits() };
    let mut world = World::with_store(2, limits);
    let (reader, writer) = (world.attach(1, 1, true), world.attach(2, 1, true));
    talk(&mut world, writer, 1, 1, 5);
    for request in 1..=4 {
        let conv = Conv::Direct(2);
        let (from, direction, limit) = (request, Direction::Older, 1);
        let history = History { request, conv, from, direction, limit };
        world.send(reader, ClientFrame::History(history));
    }
    world.run_ms(20);
    let told = world.take(reader, |frame| match frame {
        ServerFrame::HistoryItem(item) => Some((item.request, item.conv_seq)),
        ServerFrame::End(end) => Some((end.request, 0)),
        ServerFrame::RequestRefused(refused) => {
            assert_eq!((refused.request, refused.code), (4, RefusalCode::Quota));
            assert!(refused.retry_after_ms > 0 && refused.retry_after_ms <= 1_000);
            None
        }
        _ => None,
    });
    assert_eq!(told, [(1, 1), (1, 0), (2, 2), (2, 0), (3, 3), (3, 0)]);
    let (request, direction, limit) = (9, Direction::Older, 1);
    let nobody = History { request, conv: Conv::Direct(1), from: 0, direction, limit };
    world.run_ms(1_000);
    world.send(reader, ClientFrame::History(nobody));
    world.run_ms(10);
    let refused = world.take(reader, |frame| match frame {
        ServerFrame::RequestRefused(refused) => Some(refused.code),
        _ => None,
    });
    assert_eq!(refused, [RefusalCode::BadRecipient], "nobody talks to themselves");
}

#[test]
fn an_edit_of_a_blocked_writer_is_hidden() {
    for flushed in [false, true] {
        for (mut world, reader, writer) in worlds() {
            talk(&mut world, writer, 1, 1, 1);
            give(&mut world, reader, 1, Command::Block { peer: id(2) });
            world.run_ms(10);
            let key = SendKey { conv: Conv::Direct(1), outbox: None, n: 2 };
            let change = Some(wire::Change { target: 1, delete: false });
            world.send(writer, ClientFrame::Send(Send { key, change, body: b"insult" }));
            world.run_ms(10);
            if flushed {
                flush(&mut world);
            }
            world.take(reader, |_| None::<()>);
            ask(&mut world, reader, 0, false, 9);
            let hidden = (2, "Hidden".to_owned());
            assert_eq!(answer(&mut world, reader).0, [hidden, (1, "1".to_owned())]);
        }
    }
}
