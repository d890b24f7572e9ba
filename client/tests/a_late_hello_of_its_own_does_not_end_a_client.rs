//! A server that stood still may read a client's newer HELLO before the older one, and then tell
//! the newer connection that it is displaced. That is no other program, so the client comes back.

use client::{Client, Config};
use wire::{Close, CloseCode, ServerFrame};

const STARTED_MS: u64 = 1_000;

fn greet(client: &mut Client, now_ms: u64) {
    client.connected(now_ms);
    client.journal();
    client.committed();
    assert!(!client.output().is_empty(), "HELLO");
}

fn displace(client: &mut Client, now_ms: u64) {
    let close = Close { code: CloseCode::Displaced, retry_after_ms: 0, reason: "" };
    let mut bytes = Vec::new();
    wire::encode_server(&mut bytes, &ServerFrame::Close(close));
    client.received(&bytes, now_ms);
    assert!(client.is_closing());
    client.disconnected(now_ms);
}

#[test]
fn who_displaced_itself_comes_back_once() {
    let mut client = Client::new(Config::new(vec![1]), 7);
    greet(&mut client, STARTED_MS);
    client.disconnected(STARTED_MS + 10);
    greet(&mut client, STARTED_MS + 20);
    displace(&mut client, STARTED_MS + 30);
    assert!(client.connect_at_ms().is_some());
    greet(&mut client, STARTED_MS + 40);
    displace(&mut client, STARTED_MS + 50);
    assert_eq!(client.connect_at_ms(), None, "this time it was somebody else");
}

#[test]
fn whom_another_displaced_stays_away() {
    let mut client = Client::new(Config::new(vec![1]), 7);
    greet(&mut client, STARTED_MS);
    displace(&mut client, STARTED_MS + 10);
    assert_eq!(client.connect_at_ms(), None);

    let mut client = Client::new(Config::new(vec![1]), 7);
    greet(&mut client, STARTED_MS);
    client.disconnected(STARTED_MS + 10);
    greet(&mut client, STARTED_MS + 20);
    displace(&mut client, STARTED_MS + 100_000);
    assert_eq!(client.connect_at_ms(), None, "the older HELLO is long gone");
}
