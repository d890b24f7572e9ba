//! Properties of the codec that hold for any bytes: what the fuzz targets call, and what the
//! tests replay their corpus with. Each panics where its property does not hold.

use crate::{ClientFrame, Command, Deframer, FrameError, encode_client, encode_server};

/// A client's content that decodes is encoded to a frame that decodes to the same.
pub fn decode_client(content: &[u8]) {
    if let Ok(frame) = crate::decode_client(content) {
        if let ClientFrame::Command(numbered) = &frame {
            command(numbered.command);
        }
        let mut bytes = Vec::new();
        encode_client(&mut bytes, &frame);
        let again = only_content(&bytes);
        assert_eq!(crate::decode_client(&again), Ok(frame));
        assert!(again.len() <= content.len(), "the encoder has the shortest spelling");
    }
}

/// A command has one spelling.
fn command(bytes: &[u8]) {
    if let Ok(command) = Command::decode(bytes) {
        let mut again = Vec::new();
        command.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

/// A server's content that decodes is encoded to a frame that decodes to the same.
pub fn decode_server(content: &[u8]) {
    if let Ok(frame) = crate::decode_server(content) {
        let mut bytes = Vec::new();
        encode_server(&mut bytes, &frame);
        let again = only_content(&bytes);
        assert_eq!(crate::decode_server(&again), Ok(frame));
        assert!(again.len() <= content.len(), "the encoder has the shortest spelling");
    }
}

/// Cutting a stream changes neither its frames nor its error, and a cut frame stays within its
/// memory. The first four bytes are what is kept of a frame and the limit, the fifth says how many
/// bytes of lengths follow, at which the rest is cut again and again.
pub fn deframe(input: &[u8]) {
    let [kept_low, kept_high, low, high, count, rest @ ..] = input else { return };
    let kept_max = usize::from(u16::from_le_bytes([*kept_low, *kept_high]));
    let limit = usize::from(u16::from_le_bytes([*low, *high]));
    let (lengths, stream) = rest.split_at(rest.len().min(usize::from(*count)));
    let lengths = if lengths.is_empty() { &[1][..] } else { lengths };
    let uncut = frames([stream].into_iter(), kept_max, limit);
    let mut left = stream;
    let pieces = lengths.iter().cycle().map_while(|&length| {
        let (piece, rest) = left.split_at(usize::from(length).max(1).min(left.len()));
        left = rest;
        if piece.is_empty() { None } else { Some(piece) }
    });
    assert_eq!(frames(pieces, kept_max, limit), uncut);
}

fn only_content(frame: &[u8]) -> Vec<u8> {
    let (mut contents, error) = frames([frame].into_iter(), frame.len(), frame.len());
    assert_eq!((contents.len(), error), (1, None));
    contents.remove(0)
}

/// The contents of all frames, and the error that ended the stream.
fn frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    kept_max: usize,
    limit: usize,
) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let (mut deframer, mut contents) = (Deframer::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match deframer.next_clipped(&mut piece, kept_max, limit, <[u8]>::to_vec) {
                Ok(Some(content)) => contents.push(content),
                Ok(None) => break,
                Err(error) => return (contents, Some(error)),
            }
        }
        assert!(piece.is_empty() && deframer.held() <= kept_max + 10);
        assert!(deframer.capacity() <= kept_max + 10);
    }
    (contents, None)
}
