//! Heartbeats and slots.

use crate::server::{Server, cached, node, until};
use crate::store;
use ringmail_redis::{Config, Node, ROUTE_LIFE, Route, routes};
use std::time::Duration;

fn shown(config: &Config) -> Vec<(u16, u16, u64)> {
    let routes = routes(config).expect("it answers");
    let row = |route: &Route| (*route.slots.start(), *route.slots.end(), route.epoch);
    routes.iter().map(row).collect()
}

#[test]
fn routes_are_back_after_a_wipe_and_after_a_kill() {
    let (mut server, store) = (Server::start(), store());
    let config = server.config();
    let (cached, _) = cached(&config, store.store.clone(), node(3));
    until("they are there", || shown(&config) == [(0, 4095, 3)]);
    let route = routes(&config).expect("it answers").remove(0);
    assert_eq!(route.node, "127.0.0.1:4848");
    let heartbeat = route.heartbeat.expect("it lives");
    assert!(heartbeat.age_ms < 2_000, "{heartbeat:?}");
    for _ in 0..3 {
        server.ask("FLUSHALL");
        let wiped = until("they are there", || shown(&config) == [(0, 4095, 3)]);
        server.kill();
        server.start_again();
        let killed = until("they are there", || shown(&config) == [(0, 4095, 3)]);
        assert!(wiped.max(killed) <= Duration::from_secs(5), "{wiped:?} {killed:?}");
    }
    drop(cached);
    std::thread::sleep(ROUTE_LIFE + Duration::from_millis(200));
    assert_eq!(shown(&config), []);
    assert!(server.keys("*").is_empty(), "nothing stays of a node that is gone");
}

#[test]
fn a_slot_goes_to_the_higher_epoch_and_stays_there() {
    let (server, store) = (Server::start(), store());
    let config = server.config();
    let of = |address: &str, epoch, slots| Node { address: address.to_owned(), epoch, slots };
    let (_a, a_told) = cached(&config, store.store.clone(), of("a:1", 5, 0..=4095));
    until("a has all", || shown(&config) == [(0, 4095, 5)]);
    let (_b, b_told) = cached(&config, store.store.clone(), of("b:1", 6, 0..=99));
    until("b has some", || shown(&config) == [(0, 99, 6), (100, 4095, 5)]);
    let (_c, c_told) = cached(&config, store.store.clone(), of("c:1", 5, 50..=199));
    until("a is told", || a_told.lines().len() == 1);
    until("c is told", || c_told.lines().len() == 1);
    assert!(a_told.lines()[0].starts_with("100 slots"), "{:?}", a_told.lines());
    assert!(c_told.lines()[0].starts_with("150 slots"), "{:?}", c_told.lines());
    assert!(c_told.lines()[0].contains("redis.prefix"), "{:?}", c_told.lines());
    std::thread::sleep(ringmail_redis::BEAT * 2);
    assert_eq!(shown(&config), [(0, 99, 6), (100, 4095, 5)]);
    assert!(b_told.lines().is_empty() && a_told.lines().len() == 1, "said once");
}
