//! Ringmail bench.
