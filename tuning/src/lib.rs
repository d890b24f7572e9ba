//! Ringmail tuning.
