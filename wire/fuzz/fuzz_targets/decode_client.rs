//! `cargo +nightly fuzz run decode_client` in `wire/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::decode_client(bytes));
