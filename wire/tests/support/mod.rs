//! What the black-box tests share: any frame, and a frame as a list of its fields.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod arbitrary;
pub mod arbitrary_later;
pub mod listing;
pub mod listing_later;
pub mod tables;

use wire::{ClientFrame, ServerFrame};

/// A frame of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Client(ClientFrame<'a>),
    Server(ServerFrame<'a>),
}

/// The whole frame, length included.
pub fn encode(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match frame {
        Frame::Client(frame) => wire::encode_client(&mut bytes, frame),
        Frame::Server(frame) => wire::encode_server(&mut bytes, frame),
    }
    bytes
}

/// The content of a whole frame, which is all of `bytes`.
pub fn content(bytes: &[u8]) -> &[u8] {
    let mut reader = wire::Reader::new(bytes);
    let length = reader.varint("length").expect("a length");
    let content = reader.rest();
    assert_eq!(content.len() as u64, length);
    content
}
