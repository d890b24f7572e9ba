//! `cargo +nightly fuzz run deframe` in `wire/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::deframe(bytes));
