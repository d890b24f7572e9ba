//! Lines to standard output. A reader that went away (`| head`) is no reason to stop serving.

use std::io::Write;

/// Writes a line.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
