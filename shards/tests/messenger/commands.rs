//! Commands: numbered like sends, told to all devices, and what they change.

use crate::world::{Client, World, id, limits};
use shards::Limits;
use wire::{
    Activity, ClientFrame, Command, CommandResult, Contacts, Conv, ConvSettings, DeviceId,
    NumberedCommand, OutboxId, PresenceState, Privacy, RefusalCode, Send, SendKey, ServerFrame,
    Visibility, Watch,
};

/// Gives a command from outbox 9.
pub fn give(world: &mut World, client: Client, n: u64, command: Command<'_>) {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    give_bytes(world, client, n, &bytes);
}

fn give_bytes(world: &mut World, client: Client, n: u64, command: &[u8]) {
    let frame = NumberedCommand { outbox: OutboxId(9), n, command };
    world.send(client, ClientFrame::Command(frame));
}

#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// An entry, with its code.
    Entry(u64, Option<RefusalCode>),
    Answer(u64, CommandResult),
}

/// What a device hears about commands.
pub fn told(world: &mut World, client: Client) -> Vec<Told> {
    world.take(client, |frame| match frame {
        ServerFrame::Commanded(entry) => Some(Told::Entry(entry.n, entry.code)),
        ServerFrame::CommandAnswer(answer) => Some(Told::Answer(answer.n, answer.result)),
        _ => None,
    })
}

/// Contacts page by page: number, contact, blocked, name.
fn contacts(world: &mut World, client: Client, limit: u64) -> Vec<(u64, bool, bool, String)> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let ask = Contacts { request: 5, after, limit };
        world.send(client, ClientFrame::Contacts(ask));
        world.run_ms(10);
        let mut next = None;
        let page = world.take(client, |frame| match frame {
            ServerFrame::Contact(item) => {
                Some((item.peer.get(), item.contact, item.blocked, item.name.to_owned()))
            }
            ServerFrame::End(end) => {
                assert_eq!(end.request, 5);
                next = Some(end.next);
                None
            }
            _ => None,
        });
        assert!(page.len() as u64 <= limit);
        all.extend(page);
        match next.expect("a page ends") {
            0 => return all,
            next => after = next,
        }
    }
}

const ADD: Command<'_> = Command::ContactAdd { peer: wire::UserId::new(7).unwrap(), name: "Ann" };

#[test]
fn every_device_is_told_once_and_repeats_are_known() {
    let mut world = World::new(2, limits());
    let (first, second) = (world.attach(1, 1, true), world.attach(1, 2, true));
    give(&mut world, first, 2, ADD);
    give(&mut world, first, 1, ADD);
    give(&mut world, second, 1, ADD);
    give(&mut world, first, 2, Command::Block { peer: id(7) });
    give(&mut world, first, 0, ADD);
    world.run_ms(20);
    let zero = CommandResult::Refused { code: RefusalCode::BadNumber, retry_after_ms: 0 };
    let late = CommandResult::OutOfOrder { next: 1 };
    let mut known = 0;
    for (client, answers) in
        [(first, &[Told::Answer(2, late), Told::Answer(0, zero)][..]), (second, &[])]
    {
        let (entries, answered): (Vec<_>, Vec<_>) =
            told(&mut world, client).into_iter().partition(|t| matches!(t, Told::Entry(..)));
        assert_eq!(entries, [Told::Entry(1, None), Told::Entry(2, None)]);
        let (repeats, answered): (Vec<_>, Vec<_>) =
            answered.into_iter().partition(|t| *t == Told::Answer(1, CommandResult::Known));
        known += repeats.len();
        assert_eq!(answered, answers);
    }
    assert_eq!(known, 1, "of two under one number");
    assert_eq!(contacts(&mut world, second, 1), [(7, true, true, "Ann".to_owned())]);
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut world = World::new(2, limits());
    let client = world.attach(1, 1, true);
    world.hold_disks(true);
    give(&mut world, client, 1, ADD);
    give(&mut world, client, 1, ADD);
    world.send(client, ClientFrame::Contacts(Contacts { request: 5, after: 0, limit: 9 }));
    world.run_ms(50);
    assert_eq!(world.take(client, |frame| Some(format!("{frame:?}"))).len(), 2, "since HELLO");
    world.hold_disks(false);
    world.run_ms(20);
    assert_eq!(world.take(client, |_| Some(())).len(), 4);
}

#[test]
fn what_is_invalid_is_taken_with_a_code_and_changes_nothing() {
    let small = Limits { contacts_max: 2, ..limits() };
    let mut world = World::new(2, small);
    let client = world.attach(1, 1, true);
    let conv = Conv::Direct(7);
    give_bytes(&mut world, client, 1, &[99]);
    give(&mut world, client, 2, Command::Block { peer: id(1) });
    give(&mut world, client, 3, Command::DeleteForMe { conv, first: 1, last: 1 });
    give(&mut world, client, 4, Command::Revoke { device: DeviceId(77) });
    for n in 5..=7 {
        give(&mut world, client, n, Command::ContactAdd { peer: id(n), name: "" });
    }
    give(&mut world, client, 8, Command::Block { peer: id(6) });
    let settings = ConvSettings { pinned: true, ..ConvSettings::default() };
    give(&mut world, client, 9, Command::Settings { conv: Conv::Direct(0), settings });
    give(&mut world, client, 10, Command::Settings { conv, settings });
    world.run_ms(20);
    let codes: Vec<_> = told(&mut world, client)
        .into_iter()
        .map(|told| match told {
            Told::Entry(_, code) => code,
            Told::Answer(..) => panic!("{told:?}"),
        })
        .collect();
    let (bad, limit) = (Some(RefusalCode::BadCommand), Some(RefusalCode::Limit));
    let recipient = Some(RefusalCode::BadRecipient);
    let expected = [bad, recipient, bad, bad, None, None, limit, None, codes[8], None];
    assert_eq!(codes, expected);
    assert!(codes[8].is_some());
    let numbers: Vec<u64> = contacts(&mut world, client, 10).iter().map(|c| c.0).collect();
    assert_eq!(numbers, [5, 6]);
}

#[test]
fn commands_outlive_a_crash_in_their_order() {
    let mut world = World::new(2, limits());
    let client = world.attach(1, 1, true);
    give(&mut world, client, 1, ADD);
    give(&mut world, client, 2, Command::Block { peer: id(8) });
    give(&mut world, client, 3, Command::ContactRemove { peer: id(7) });
    give(&mut world, client, 4, Command::Unblock { peer: id(8) });
    give(&mut world, client, 5, Command::Block { peer: id(8) });
    let privacy = Privacy { visibility: Visibility::Nobody, refuse_strangers: false };
    give(&mut world, client, 6, Command::Privacy(privacy));
    world.run_ms(20);
    assert_eq!(told_at_welcome(&mut world), privacy);
    world.restart();
    assert_eq!(told_at_welcome(&mut world), privacy);
    let client = world.attach(1, 1, true);
    assert_eq!(contacts(&mut world, client, 1), [(8, false, true, String::new())]);
    give(&mut world, client, 6, ADD);
    give(&mut world, client, 8, ADD);
    world.run_ms(20);
    let heard = told(&mut world, client);
    assert!(heard.contains(&Told::Answer(6, CommandResult::Known)), "{heard:?}");
    assert!(heard.contains(&Told::Answer(8, CommandResult::OutOfOrder { next: 7 })), "{heard:?}");
    let watcher = world.attach(2, 1, true);
    assert_eq!(seen(&mut world, watcher, 1), PresenceState::Unknown);
}

/// What WELCOME says to a device of user 1.
fn told_at_welcome(world: &mut World) -> Privacy {
    let client = world.attach(1, 3, false);
    let welcomes = world.take(client, |frame| match frame {
        ServerFrame::Welcome(welcome) => Some(welcome.privacy),
        _ => None,
    });
    welcomes[0]
}

/// What a watcher is told last about a user.
fn seen(world: &mut World, watcher: Client, user: u64) -> PresenceState {
    let users = [id(user)];
    world.send(watcher, ClientFrame::Watch(Watch { users: users.as_slice().into() }));
    last_seen(world, watcher).expect("WATCH is answered")
}

fn last_seen(world: &mut World, watcher: Client) -> Option<PresenceState> {
    world.run_ms(500);
    let told = world.take(watcher, |frame| match frame {
        ServerFrame::Presence(presence) => presence.users.iter().last().map(|p| p.state),
        _ => None,
    });
    told.last().copied()
}

#[test]
fn presence_follows_blocks_and_privacy_at_once() {
    let mut world = World::new(2, limits());
    for (target, watcher) in [(1, 2), (3, 4), (5, 6), (7, 8)] {
        let client = world.attach(target, 1, true);
        let other = world.attach(watcher, 1, true);
        assert_eq!(seen(&mut world, other, target), PresenceState::Online);
        give(&mut world, client, 1, Command::Block { peer: id(watcher) });
        assert_eq!(last_seen(&mut world, other), Some(PresenceState::Unknown));
        world.send(client, ClientFrame::Activity(Activity { foreground: false }));
        world.run_ms(4_000);
        assert_eq!(last_seen(&mut world, other), None, "a blocked one hears nothing");
        give(&mut world, client, 2, Command::Unblock { peer: id(watcher) });
        assert_eq!(last_seen(&mut world, other), Some(PresenceState::Offline));
        for (n, visibility, expected) in [
            (3, Visibility::Nobody, PresenceState::Unknown),
            (4, Visibility::Everyone, PresenceState::Offline),
            (5, Visibility::Contacts, PresenceState::Unknown),
        ] {
            let privacy = Privacy { visibility, refuse_strangers: false };
            give(&mut world, client, n, Command::Privacy(privacy));
            assert_eq!(last_seen(&mut world, other), Some(expected));
        }
        give(&mut world, client, 6, Command::ContactAdd { peer: id(watcher), name: "" });
        assert_eq!(last_seen(&mut world, other), Some(PresenceState::Offline));
        assert_eq!(seen(&mut world, other, target), PresenceState::Offline);
    }
}

#[test]
fn typing_passes_no_block_either_way() {
    let mut world = World::new(2, limits());
    for (blocker, blocked) in [(1, 2), (3, 4), (5, 6)] {
        let (one, two) = (world.attach(blocker, 1, true), world.attach(blocked, 1, true));
        give(&mut world, one, 1, Command::Block { peer: id(blocked) });
        world.run_ms(20);
        for (from, to) in [(one, blocked), (two, blocker)] {
            let conv = Conv::Direct(to);
            world.send(from, ClientFrame::Typing(wire::Typing { conv }));
        }
        world.run_ms(20);
        for client in [one, two] {
            let heard = world.take(client, |f| matches!(f, ServerFrame::Typing(_)).then_some(()));
            assert_eq!(heard, []);
        }
    }
}

#[test]
fn places_that_are_there_can_be_deleted_for_me() {
    let mut world = World::new(2, limits());
    let client = world.attach(1, 1, true);
    let conv = Conv::Direct(7);
    for n in 1..=3 {
        let key = SendKey { conv, outbox: None, n };
        let send = Send { key, change: None, body: b"hi" };
        world.send(client, ClientFrame::Send(send));
    }
    world.run_ms(20);
    for (n, last) in [(1, 3), (2, 4)] {
        give(&mut world, client, n, Command::DeleteForMe { conv, first: 2, last });
    }
    world.run_ms(20);
    let expected = [Told::Entry(1, None), Told::Entry(2, Some(RefusalCode::BadCommand))];
    assert_eq!(told(&mut world, client), expected);
}
