//! Ringmail engine.
