//! Options of `kill9`.

use crate::cassandra::Store;
use crate::report::Outputs;
use std::path::PathBuf;

/// Options of `kill9`.
#[derive(Clone, Debug, clap::Args)]
pub struct Kill9Args {
    /// How often the server is killed
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub kills: u64,
    /// Cores of the server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// Start with another number of cores, 1 to 3, after each kill
    #[arg(long)]
    pub vary_shards: bool,
    /// The store behind the log; scylla: a real Cassandra is started beside the server
    #[arg(long, value_enum, default_value_t = Store::Embedded)]
    pub store: Store,
    /// Nodes of the store, each with a copy of everything; for `--ack geo` at least 3, each in a
    /// datacenter of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub store_nodes: u8,
    /// Each node in a datacenter of its own, as with `--ack geo`; the server is in the first one,
    /// whose node is not killed
    #[arg(long)]
    pub store_datacenters: bool,
    /// A node of the store is killed too, once in so many kills, and started again under load;
    /// 0: never
    #[arg(long, default_value_t = 10)]
    pub store_kill_every: u64,
    /// So many of its nodes are killed at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub store_kill_nodes: u8,
    /// They stay away for so long, beside their start
    #[arg(long, default_value_t = 1_000)]
    pub store_down_ms: u64,
    /// A node that is back first gets what it missed: only so much later another one is killed
    #[arg(long, default_value_t = 40_000)]
    pub store_rest_ms: u64,
    /// At the end so many nodes are lost for ever, together with the server, and another process
    /// with an empty directory has to have everything
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub lose_nodes: u8,
    /// Where messages are durable when they are acked; all but `local` need `--store scylla`
    #[arg(long, value_enum, default_value_t = Ack::Local)]
    pub ack: Ack,
    /// Once in so many kills another process takes the node over, with an empty directory: of a
    /// server that was killed, or that is stopped and wakes later, in turns; 0: never
    #[arg(long, default_value_t = 0)]
    pub take_over_every: u64,
    /// Users; each writes to all others
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub users: u32,
    /// Messages that each user has queued or in flight
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub depth: u32,
    /// The server runs for at least so many ms once it is ready
    #[arg(long, default_value_t = 50)]
    pub run_ms_min: u64,
    /// … and for less than so many
    #[arg(long, default_value_t = 400)]
    pub run_ms_max: u64,
    /// Same seed, same intervals and peers
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the server keeps its data during the run; a disk, not memory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub outputs: Outputs,
}

/// An ack level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ack {
    Local,
    Replicated,
    Geo,
}

impl Kill9Args {
    /// Whether they fit together; what does not, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.store == Store::Embedded && self.ack != Ack::Local {
            return Err("--ack other than local needs --store scylla".to_owned());
        }
        if (self.take_over_every > 0 || self.lose_nodes > 0) && self.ack == Ack::Local {
            return Err("--take-over-every, --lose-nodes: need --ack replicated or geo".to_owned());
        }
        let spared = u8::from(self.spares_first());
        if self.store_kill_nodes.max(self.lose_nodes) + spared > self.nodes() {
            return Err("--store-nodes: more of them than may be killed or lost".to_owned());
        }
        Ok(())
    }

    /// Nodes of the store.
    pub fn nodes(&self) -> u8 {
        if self.ack == Ack::Geo { self.store_nodes.max(3) } else { self.store_nodes }
    }

    /// The store goes on while some of its nodes are away.
    pub fn quorum_left(&self) -> bool {
        self.spares_first() || self.nodes() - self.store_kill_nodes > self.nodes() / 2
    }

    /// The datacenter beside the server is one of several, and acks come from there alone.
    pub fn spares_first(&self) -> bool {
        self.store_datacenters && self.ack != Ack::Geo
    }
}
