//! Ringmail client.
