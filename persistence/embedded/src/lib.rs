//! Ringmail embedded.
