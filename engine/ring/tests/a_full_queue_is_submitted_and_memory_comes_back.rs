//! More operations than entries: none is refused, and each gives its own memory back.

use bytes::Bytes;
use ring::{Given, Ring, RingConfig, RingMode, Token, Wait};
use std::fs::File;
use std::io::Read;

#[test]
fn a_full_queue_is_submitted_and_memory_comes_back() {
    const WRITES: usize = 500;
    let path = std::env::temp_dir().join(format!("ringmail-ring-{}", std::process::id()));
    let file = File::create_new(&path).unwrap();
    let mut ring = Ring::new(&RingConfig {
        entries: 4,
        completions: 8,
        files: 0,
        buffers: None,
        mode: RingMode::Cooperative,
    })
    .unwrap();
    let text = |number: usize| format!("{number:08}");
    for number in 0..WRITES {
        let token = Token::new(2, number as u32, 0);
        ring.write_at(token, &file, number as u64 * 8, Bytes::from(text(number)));
    }
    let mut seen = vec![false; WRITES];
    while seen.contains(&false) {
        ring.enter(Wait::Until(None));
        while let Some(completion) = ring.reap() {
            let number = completion.token.index as usize;
            let Given::Bytes(bytes) = completion.given else { panic!("a write owns its bytes") };
            assert_eq!((completion.result.unwrap(), &bytes[..]), (8, text(number).as_bytes()));
            assert!(!std::mem::replace(&mut seen[number], true), "completed twice");
        }
    }
    let mut content = String::new();
    File::open(&path).unwrap().read_to_string(&mut content).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(content, (0..WRITES).map(text).collect::<String>());
}
