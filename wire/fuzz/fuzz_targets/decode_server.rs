//! `cargo +nightly fuzz run decode_server` in `wire/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::decode_server(bytes));
