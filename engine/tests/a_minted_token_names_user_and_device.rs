//! `ringmail token` signs with the data directory's key, also while the server runs.

mod common;
use common::{Dir, free_port, refused, ringmail, start, succeeds};
use shards::{Claims, token};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

#[test]
fn and_expires() {
    let dir = Dir::new();
    let line = refused(ringmail(&dir).args(["token", "--user", "7"]));
    assert!(line.contains("start the server once"), "{line}");
    let server = start(ringmail(&dir).args(["--listen", &format!("127.0.0.1:{}", free_port())]));
    let key: [u8; 32] = fs::read(dir.data().join("key")).unwrap().try_into().unwrap();
    let key = token::Key::new(key);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let verify = |token: &str, now| token::verify(&key, token.trim().as_bytes(), now);

    let mut mint = ringmail(&dir);
    let minted = succeeds(mint.args(["token", "--user", "7", "--device", "3", "--days", "2"]));
    assert_eq!(verify(&minted, now), Claims::new(7, 3));
    assert_eq!(verify(&minted, now + 3 * 86_400), None);

    let minted = succeeds(ringmail(&dir).args(["token", "--user", "100", "--count", "3"]));
    let users: Vec<_> = minted.lines().map(|token| verify(token, now)).collect();
    assert_eq!(users, [100, 101, 102].map(|user| Claims::new(user, 1)));

    let announced = server.ready["tokens"][1].as_str().unwrap();
    assert_eq!(verify(announced, now), Claims::new(2, 1));
    let line = refused(ringmail(&dir).args(["token", "--user", "0"]));
    assert!(line.contains("any number but 0"), "{line}");
}
