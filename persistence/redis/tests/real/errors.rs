//! What can be wrong with Redis, and what is said then.

use crate::server::{Server, Told, cached, node, until};
use crate::store;
use persistence::Backend;
use ringmail_redis::{Cached, Config, OpenError, routes};
use std::path::PathBuf;

/// Starts with this configuration; the line that is said, and what goes on without Redis.
fn said(config: &Config) -> (String, Cached, Told) {
    let store = store();
    let (cached, told) = cached(config, store.store.clone(), node(1));
    until("a line", || !told.lines().is_empty());
    let line = told.lines().remove(0);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(&config.address) && line.contains("not needed"), "{line}");
    let error = routes(config).expect_err("nothing to read");
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    cached.write(&crate::batch(1, 5)).expect("the store takes it");
    let page = crate::newest(9);
    assert_eq!(cached.page(&page), store.store.page(&page));
    assert!(!cached.is_up());
    (line, cached, told)
}

#[test]
fn a_password_is_asked_for_and_checked() {
    let server = Server::start();
    assert_eq!(server.ask("CONFIG SET requirepass secret"), "+OK\r\n");
    let none = server.config();
    let wrong = Config { password: "guess".into(), ..none.clone() };
    let nobody = Config { user: "nobody".into(), ..wrong.clone() };
    for config in [&none, &wrong, &nobody] {
        let (line, ..) = said(config);
        assert!(line.contains("refuses") && line.contains("redis.password"), "{line}");
        assert!(!line.contains("guess"), "{line}");
    }
    let right = Config { password: "secret".into(), ..none };
    let store = store();
    let (cached, _) = cached(&right, store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    assert_eq!(routes(&right).expect("it answers").len(), 1);
}

#[test]
fn nobody_there_is_said_once_and_so_is_that_somebody_came() {
    let mut server = Server::start();
    server.kill();
    let (line, cached, told) = said(&server.config());
    assert!(line.contains("does not answer") && line.contains("redis.address"), "{line}");
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    assert_eq!(told.lines().len(), 1, "{:?}", told.lines());
    server.start_again();
    until("it is up", || cached.is_up());
    until("it is said", || told.lines().len() == 2);
    assert!(told.lines()[1].ends_with("is back"), "{:?}", told.lines());
}

#[test]
fn an_address_and_certificates_are_read_at_the_start() {
    let server = Server::start();
    for address in ["", "here", "here:0", "here:99999", "here:x"] {
        let config = Config { address: address.to_owned(), ..server.config() };
        let error = routes(&config).expect_err("no address");
        assert!(matches!(error, OpenError::Address(_)), "{error}");
    }
    let missing = Config { tls: true, ca_file: PathBuf::from("/none.pem"), ..server.config() };
    let error = routes(&missing).expect_err("no file");
    assert!(error.to_string().contains("/none.pem"), "{error}");
    assert!(error.to_string().contains("redis.ca_file"), "{error}");
}

#[test]
fn tls_is_spoken_with_a_server_whose_certificate_is_known() {
    let (server, address, ca_file, _dir) = Server::with_tls();
    let known = Config { address: address.clone(), tls: true, ca_file, ..server.config() };
    let store = store();
    let (cached, told) = cached(&known, store.store.clone(), node(1));
    until("it is up", || cached.is_up());
    assert!(told.lines().is_empty(), "{:?}", told.lines());
    assert_eq!(routes(&known).expect("it answers").len(), 1);
    drop(cached);
    let unknown = Config { ca_file: PathBuf::new(), ..known };
    let plain = Config { address, ..server.config() };
    for config in [unknown, plain] {
        let (line, ..) = said(&config);
        assert!(line.contains("redis.tls") && line.contains("redis.ca_file"), "{line}");
    }
}
