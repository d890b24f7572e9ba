//! What a host is for.

use std::fmt;

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// One server with up to a hundred thousand connections.
    Server,
    /// One server with up to a million connections.
    Million,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Server => "server",
            Profile::Million => "million",
        })
    }
}
