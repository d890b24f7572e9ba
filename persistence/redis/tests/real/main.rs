//! The contract with a real redis-server beside an embedded store: every page is the store's,
//! whatever happens to Redis, and what can be wrong is said in one line with its cure.

#[path = "../../../embedded/tests/history/mod.rs"]
mod history;
#[path = "../../../embedded/tests/rows/mod.rs"]
mod rows;
mod server;

mod errors;
mod routes;

use history::{History, Random};
use persistence::{Backend, Batch, Page, Record, UserId};
use rows::{batch, conv, user};
use server::{Server, cached, node, until};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Store {
    store: Arc<dyn Backend>,
    _dir: tempfile::TempDir,
}

fn store() -> Store {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(embedded::Embedded::open(dir.path(), 4 << 20).expect("opens"));
    Store { store, _dir: dir }
}

fn newest(limit: u32) -> Page {
    let bytes_max = u32::MAX;
    Page::Messages { conv: conv(), from: u64::MAX, newer: false, limit, bytes_max }
}

fn random_page(random: &mut Random, head: u64) -> Page {
    let newer = random.one_in(3);
    let limit = 1 + random.below(6) as u32;
    let bytes_max = if random.one_in(3) { random.below(40) as u32 } else { u32::MAX };
    let back = random.below(8);
    let from = if random.one_in(3) { u64::MAX } else { (head + 1).saturating_sub(back) };
    Page::Messages { conv: conv(), from, newer, limit, bytes_max }
}

/// The records' batches, those of the two homes together.
fn pairs(records: &[Record<'static>], random: &mut Random) -> Vec<Vec<Batch>> {
    let (mut pairs, mut left) = (Vec::new(), records);
    let low = conv().participants()[0];
    while !left.is_empty() {
        let (some, others) = left.split_at(left.len().min(1 + random.below(6) as usize));
        left = others;
        let homes: [&dyn Fn(UserId) -> bool; 2] = [&|user| user == low, &|user| user != low];
        let whole: [&dyn Fn(UserId) -> bool; 1] = [&|_| true];
        let parts = if random.one_in(3) { &homes[..] } else { &whole[..] };
        let batch = |mine: &&dyn Fn(UserId) -> bool| {
            let mut batch = Batch::default();
            some.iter().for_each(|record| batch.add(record, mine));
            batch
        };
        pairs.push(parts.iter().map(batch).collect());
    }
    pairs
}

/// With edits and deletions, batches written again by a second process, wipes and kills, while
/// what is written behind comes late or never.
#[test]
fn every_page_is_the_stores_whatever_happens_to_redis() {
    for seed in [11, 12, 13] {
        let random = &mut Random(seed);
        let (mut server, store) = (Server::start(), store());
        let config = server.config();
        let (own, _) = cached(&config, store.store.clone(), node(2));
        let (dead, _) = cached(&config, store.store.clone(), node(1));
        until("both are up", || own.is_up() && dead.is_up());
        let pairs = pairs(&History::new(seed, 2_000).records, random);
        let (mut head, mut pages) = (0, 0);
        for at in 0..pairs.len() {
            for batch in &pairs[at] {
                own.write(batch).expect("written");
                head = batch.conversations.get(&conv()).map_or(head, |place| head.max(place.0));
            }
            if random.one_in(3) {
                let old = at.saturating_sub(random.below(4) as usize);
                pairs[old].iter().for_each(|batch| dead.write(batch).expect("written"));
            }
            match random.below(100) {
                0..30 => std::thread::sleep(Duration::from_millis(1)),
                30..34 => assert_eq!(server.ask("FLUSHALL"), "+OK\r\n"),
                34 if random.one_in(2) => {
                    server.kill();
                    server.start_again();
                    until("it is back", || own.is_up() && dead.is_up());
                }
                _ => {}
            }
            for _ in 0..4 {
                let page = random_page(random, head);
                assert_eq!(own.page(&page), store.store.page(&page), "seed {seed}, {page:?}");
                pages += 1;
            }
        }
        let hits = own.counts().hits;
        assert!(hits > pages / 50, "seed {seed}: {hits} of {pages} pages came from a window");
    }
}

#[test]
fn a_window_has_the_newest_hundred_places_and_a_life() {
    let (server, store) = (Server::start(), store());
    let config = ringmail_redis::Config { window_s: 2, ..server.config() };
    let (cached, _) = cached(&config, store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    (0..50).for_each(|n| cached.write(&batch(1 + n * 5, 6 + n * 5)).expect("written"));
    let hits = |limit| {
        let before = cached.counts().hits;
        assert_eq!(cached.page(&newest(limit)), store.store.page(&newest(limit)));
        cached.counts().hits - before
    };
    until("the window is whole", || hits(100) == 1);
    assert_eq!(hits(101), 0, "it has no more");
    assert_eq!(server.keys("test:conv:*").len(), 1);
    until("nothing came for its life", || server.keys("test:conv:*").is_empty());
    assert_eq!(hits(1), 0);
}

#[test]
fn what_is_lost_is_missed_and_heals_with_the_next_messages() {
    let (mut server, store) = (Server::start(), store());
    let (cached, _) = cached(&server.config(), store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    let hit = |limit| {
        let before = cached.counts().hits;
        assert_eq!(cached.page(&newest(limit)), store.store.page(&newest(limit)));
        cached.counts().hits > before
    };
    cached.write(&batch(1, 11)).expect("written");
    until("the window is there", || hit(10));
    server.ask("FLUSHALL");
    assert!(!hit(1));
    cached.write(&batch(11, 13)).expect("written");
    until("it is there again", || hit(2));
    assert!(!hit(3), "what came before the wipe is in the store alone");
    server.kill();
    assert!(!hit(1));
    cached.write(&batch(13, 15)).expect("the store takes it");
    server.start_again();
    until("it is back", || cached.is_up());
    assert!(!hit(1), "nothing of before is in it");
    cached.write(&batch(15, 16)).expect("written");
    until("it is there again", || hit(1));
}

/// Foreign values below our names: of another type, damaged, of another conversation.
#[test]
fn values_that_are_not_ours_are_ignored_and_go() {
    let (server, store) = (Server::start(), store());
    let (cached, _) = cached(&server.config(), store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    let hit = || {
        let before = cached.counts().hits;
        assert_eq!(cached.page(&newest(1)), store.store.page(&newest(1)));
        cached.counts().hits > before
    };
    cached.write(&batch(1, 3)).expect("written");
    until("the window is there", hit);
    let key = server.keys("test:conv:*").remove(0);
    for (n, spoil) in (3..).zip([
        format!("SET {key} text"),
        format!("LSET {key} -1 x"),
        format!("LSET {key} -1 {}", "y".repeat(99)),
        format!("RPOP {key}"),
    ]) {
        assert!(!server.ask(&spoil).starts_with('-'), "{spoil}");
        assert!(!hit(), "{spoil}");
        server.ask(&format!("DEL {key}"));
        cached.write(&batch(n, n + 1)).expect("written");
        until("it is there again", hit);
    }
    server.ask(&format!("SET {key} text"));
    cached.write(&batch(7, 8)).expect("written");
    until("a value of another type goes", hit);
    let other = format!("{}:{}:{}", key.rsplitn(3, ':').last().expect("a name"), 7, 10);
    server.ask(&format!("COPY {key} {other}"));
    let conv = persistence::ConvKey::new(user(7), user(10)).expect("two");
    let page = Page::Messages { conv, from: u64::MAX, newer: false, limit: 1, bytes_max: 9 };
    let hits = cached.counts().hits;
    assert_eq!(cached.page(&page), store.store.page(&page));
    assert_eq!(cached.counts().hits, hits);
}

/// A Redis that stands still: one page waits for it, not for long, and none after; and its late
/// replies are nobody's.
#[test]
fn a_redis_that_hangs_holds_up_no_one_for_long() {
    let (server, store) = (Server::start(), store());
    let (cached, told) = cached(&server.config(), store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    cached.write(&batch(1, 60)).expect("written");
    server.signal("-STOP");
    let begun = Instant::now();
    for limit in 1..50 {
        assert_eq!(cached.page(&newest(limit)), store.store.page(&newest(limit)));
        cached.write(&batch(59 + u64::from(limit), 60 + u64::from(limit))).expect("written");
    }
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert!(!cached.is_up());
    until("it is said", || !told.lines().is_empty());
    assert!(told.lines()[0].contains("does not answer"), "{:?}", told.lines());
    server.signal("-CONT");
    until("it is back", || cached.is_up());
    until("it is said", || told.lines().len() == 2);
    assert!(told.lines()[1].contains("is back"), "{:?}", told.lines());
    for limit in 1..50 {
        assert_eq!(cached.page(&newest(limit)), store.store.page(&newest(limit)));
    }
}

#[test]
fn a_deleted_user_is_in_no_window() {
    let (server, store) = (Server::start(), store());
    let (cached, _) = cached(&server.config(), store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    cached.write(&batch(1, 5)).expect("written");
    until("the window is there", || {
        cached.page(&newest(4)).expect("readable");
        cached.counts().hits > 0
    });
    cached.delete_user(user(7)).expect("deleted");
    assert_eq!(cached.page(&newest(4)), store.store.page(&newest(4)));
}
