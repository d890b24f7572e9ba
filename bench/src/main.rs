//! The `ringmail-bench` program.

fn main() {}
