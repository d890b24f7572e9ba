//! Snapshots: verdicts, the list of conversations, and what rises meanwhile.

use crate::commands::give;
use crate::history::{flush, flushing, talk};
use crate::world::{Client, World, limits};
use std::collections::BTreeSet;
use wire::{
    Ack, Chat, Chats, ClientFrame, Command, Conv, ConvSettings, Privacy, Seq, ServerFrame,
    SnapshotReason, Verdict, Visibility,
};

/// What WELCOME said: epoch, verdict, from, head.
pub fn welcome(world: &mut World, client: Client) -> (u64, Verdict, Seq, Seq) {
    let told = world.take(client, |frame| match frame {
        ServerFrame::Welcome(w) => Some((w.inbox_epoch, w.verdict, w.from, w.head)),
        _ => None,
    });
    told[0]
}

#[test]
fn welcome_tells_a_new_device_of_privacy() {
    let mut world = World::new(2, limits());
    let phone = world.attach(1, 1, true);
    let privacy = Privacy { visibility: Visibility::Contacts, refuse_strangers: true };
    give(&mut world, phone, 1, Command::Privacy(privacy));
    world.run_ms(20);
    let mut heard = |device| {
        let client = world.attach(1, device, true);
        let told = world.take(client, |frame| match frame {
            ServerFrame::Welcome(welcome) => Some(welcome.privacy),
            _ => None,
        });
        world.restart();
        told
    };
    assert_eq!(heard(2), [privacy]);
    assert_eq!(heard(3), [privacy], "also after a crash");
}

/// A head: peer, head, unread, preview, last inbox number.
type Head = (u64, Seq, u64, String, Seq);

fn heads(world: &mut World, client: Client) -> (Vec<Head>, u64) {
    let mut next = None;
    let heads = world.take(client, |frame| match frame {
        ServerFrame::ChatHead(head) => {
            let Conv::Direct(peer) = head.conv;
            let preview = String::from_utf8_lossy(head.preview).into_owned();
            Some((peer, head.head, head.unread, preview, head.last_inbox))
        }
        ServerFrame::End(end) => {
            next = Some(end.next);
            None
        }
        _ => None,
    });
    (heads, next.expect("a page ends"))
}

fn chats(world: &mut World, client: Client, before: Seq, limit: u64) -> (Vec<Head>, u64) {
    world.send(client, ClientFrame::Chats(Chats { request: 3, before, limit }));
    world.run_ms(30);
    heads(world, client)
}

/// Peers of every page from `before` down.
fn peers(world: &mut World, client: Client, mut before: Seq, limit: u64) -> Vec<u64> {
    let mut peers = Vec::new();
    loop {
        let (page, next) = chats(world, client, before, limit);
        assert!(page.len() as u64 <= limit);
        peers.extend(page.into_iter().map(|head| head.0));
        match next {
            0 => return peers,
            next => before = next,
        }
    }
}

/// Users 2 to `last` write to user 1, one after the other.
fn crowd(world: &mut World, last: u64) -> Vec<Client> {
    let clients: Vec<_> = (2..=last).map(|user| world.attach(user, 1, true)).collect();
    for client in &clients {
        talk(world, *client, 1, 1, 2);
    }
    clients
}

#[test]
fn verdicts_say_where_the_stream_goes_on() {
    let mut world = World::with_store(2, flushing());
    let new = SnapshotReason::NewDevice;
    let phone = world.attach(1, 1, true);
    assert_eq!(welcome(&mut world, phone), (1, Verdict::Snapshot(new), 0, 0));
    crowd(&mut world, 4);
    let late = world.attach(1, 2, true);
    assert_eq!(welcome(&mut world, late), (1, Verdict::Snapshot(new), 6, 6));
    // An unknown device with the right epoch resumes, also from the start.
    let copy = world.attach_at(1, 3, 1, 0);
    assert_eq!(welcome(&mut world, copy), (1, Verdict::Resume, 0, 6));
    let other = world.attach_at(1, 2, 9, 3);
    let epoch = SnapshotReason::Epoch;
    assert_eq!(welcome(&mut world, other), (1, Verdict::Snapshot(epoch), 6, 6));
    // It knows more than the inbox (R12): a new epoch for everybody.
    let ahead = world.attach_at(1, 2, 1, 7);
    assert_eq!(welcome(&mut world, ahead), (2, Verdict::Snapshot(epoch), 6, 6));
    let back = world.attach_at(1, 1, 1, 6);
    assert_eq!(welcome(&mut world, back), (2, Verdict::Snapshot(epoch), 6, 6));
}

#[test]
fn every_conversation_is_on_one_page_wherever_it_stands() {
    for (cores, limit) in [(1, 1), (2, 2), (3, 64)] {
        let mut world = World::with_store(cores, flushing());
        let phone = world.attach(1, 1, true);
        let clients = crowd(&mut world, 8);
        flush(&mut world);
        // Two rise in the log only, one is new there.
        talk(&mut world, clients[1], 1, 3, 3);
        talk(&mut world, clients[4], 1, 3, 3);
        let new = world.attach(9, 1, true);
        talk(&mut world, new, 1, 1, 1);
        assert_eq!(peers(&mut world, phone, 0, limit), [9, 6, 3, 8, 7, 5, 4, 2], "{cores}");
        flush(&mut world);
        assert_eq!(peers(&mut world, phone, 0, limit), [9, 6, 3, 8, 7, 5, 4, 2], "{cores}");
    }
}

#[test]
fn unflushed_conversations_of_an_older_generation_are_listed() {
    let mut world = World::with_store(2, limits());
    world.attach(1, 1, true);
    crowd(&mut world, 5);
    world.restart();
    let phone = world.attach(1, 1, true);
    assert_eq!(peers(&mut world, phone, 0, 2), [5, 4, 3, 2]);
}

#[test]
fn what_rises_while_paging_is_in_the_stream() {
    let mut world = World::with_store(2, flushing());
    world.attach(1, 1, true);
    let clients = crowd(&mut world, 9);
    flush(&mut world);
    let late = world.attach(1, 2, true);
    let (_, _, s0, _) = welcome(&mut world, late);
    let (first, next) = chats(&mut world, late, s0 + 1, 3);
    assert_eq!(first.iter().map(|head| head.0).collect::<Vec<_>>(), [9, 8, 7]);
    // Conversations of later pages rise, and a new one begins.
    talk(&mut world, clients[0], 1, 3, 3);
    talk(&mut world, clients[2], 1, 3, 3);
    let delivered = |world: &mut World| -> BTreeSet<u64> {
        let peers = world.take(late, |frame| match frame {
            ServerFrame::Deliver(deliver) => {
                let Conv::Direct(peer) = deliver.conv;
                Some(peer)
            }
            _ => None,
        });
        peers.into_iter().collect()
    };
    let risen = delivered(&mut world);
    assert_eq!(risen, BTreeSet::from([2, 4]));
    let rest = peers(&mut world, late, next, 3);
    let all: BTreeSet<u64> = first.iter().map(|head| head.0).chain(rest).chain(risen).collect();
    assert_eq!(all, (2..=9).collect(), "nothing is missed");
    world.send(late, ClientFrame::Chat(Chat { request: 4, conv: Conv::Direct(2) }));
    world.run_ms(10);
    let (head, _) = heads(&mut world, late);
    assert_eq!(head, [(2, 3, 3, "3".to_owned(), s0 + 1)]);
}

#[test]
fn a_head_says_what_the_user_keeps_of_a_conversation() {
    let mut world = World::with_store(2, flushing());
    let phone = world.attach(1, 1, true);
    let peer = world.attach(2, 1, true);
    talk(&mut world, peer, 1, 1, 5);
    talk(&mut world, phone, 2, 1, 1);
    let settings = ConvSettings { muted_until_ms: 77, pinned: true, archived: false };
    give(&mut world, phone, 1, Command::Settings { conv: Conv::Direct(2), settings });
    let last = Command::DeleteForMe { conv: Conv::Direct(2), first: 6, last: 6 };
    give(&mut world, phone, 2, last);
    world.run_ms(10);
    for _ in 0..2 {
        world.send(phone, ClientFrame::Chat(Chat { request: 4, conv: Conv::Direct(2) }));
        world.run_ms(10);
        let heads = world.take(phone, |frame| match frame {
            ServerFrame::ChatHead(h) => {
                assert_eq!((h.settings, h.head, h.unread), (settings, 6, 5));
                assert!(h.time_ms >= 1_700_000_000_000);
                Some((h.preview_own, h.preview.to_vec()))
            }
            ServerFrame::End(end) => {
                assert_eq!((end.request, end.next, end.head), (4, 0, 6));
                None
            }
            _ => None,
        });
        assert_eq!(heads, [(false, b"5".to_vec())], "the newest that is shown");
        flush(&mut world);
    }
    // A conversation that never was.
    world.send(phone, ClientFrame::Chat(Chat { request: 4, conv: Conv::Direct(3) }));
    world.run_ms(10);
    assert_eq!(heads(&mut world, phone).0, [(3, 0, 0, String::new(), 0)]);
}

#[test]
fn a_snapshot_pins_its_place_from_its_welcome_on() {
    let mut world = World::with_store(2, flushing());
    let phone = world.attach(1, 1, true);
    let clients = crowd(&mut world, 3);
    let late = world.attach(1, 2, true);
    let (_, _, s0, _) = welcome(&mut world, late);
    world.cut(late);
    // The other device passes a great many entries: they stay for the new one.
    for round in 0..40 {
        talk(&mut world, clients[0], 1, 3 + 10 * round, 12 + 10 * round);
        let acked = s0 + 10 * (round + 1);
        world.send(phone, ClientFrame::Ack(Ack { inbox_seq: acked }));
        world.run_ms(20);
    }
    flush(&mut world);
    let back = world.attach_at(1, 2, 1, s0);
    assert_eq!(welcome(&mut world, back), (1, Verdict::Resume, s0, s0 + 400));
}
