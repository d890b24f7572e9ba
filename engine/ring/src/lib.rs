//! Ringmail ring.
