//! A real Cassandra beside the server under test: `persistence/scylla/cassandra`.

use crate::server::{Launch, ServerError, free_address};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// The store behind the log of the server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// Its own.
    Embedded,
    /// A real Cassandra.
    Scylla,
}

/// How the nodes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How many, 1 to 9; on 127.0.0.1, 127.0.0.2 …
    pub nodes: u8,
    /// Each in a datacenter of its own, dc1, dc2 …
    pub datacenters: bool,
}

/// Some nodes. They end with this program, which holds their standard input.
#[derive(Debug)]
pub struct Cassandra {
    cluster: Cluster,
    nodes: Vec<Node>,
    /// Those that were killed last.
    last: Range<usize>,
    /// So many, the first ones, are never killed by `kill`.
    spared: usize,
}

#[derive(Debug)]
struct Node {
    dir: PathBuf,
    port: u16,
    /// Settings of the script.
    settings: Vec<(&'static str, String)>,
    child: Child,
    lines: Receiver<String>,
    /// Since it was started last.
    ready: bool,
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |error| ServerError::System(what, error)
}

type Spawned = (Child, Receiver<String>);

fn spawn(
    dir: &Path,
    port: u16,
    settings: &[(&'static str, String)],
) -> Result<Spawned, ServerError> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../persistence/scylla/cassandra");
    let mut command = Command::new(script);
    command.arg(dir).arg(port.to_string()).env("CASSANDRA_UNTIL_EOF", "1");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(system("run persistence/scylla/cassandra"))?;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    Ok((child, lines))
}

impl Node {
    fn start(dir: PathBuf, port: u16, number: u8, cluster: Cluster) -> Result<Node, ServerError> {
        let mut settings = Vec::new();
        if cluster.nodes > 1 {
            settings.push(("CASSANDRA_NODE", number.to_string()));
        }
        if cluster.datacenters {
            settings.push(("CASSANDRA_DATACENTER", format!("dc{number}")));
        }
        let (child, lines) = spawn(&dir, port, &settings)?;
        let node = Node { dir, port, settings, child, lines, ready: true };
        match node.lines.recv_timeout(Duration::from_secs(300)) {
            Ok(line) if line.starts_with("ready ") => Ok(node),
            _ => Err(ServerError::Ended(node.last_words())),
        }
    }

    fn is_ready(&mut self) -> Result<bool, ServerError> {
        if !self.ready {
            self.ready = match self.lines.try_recv() {
                Ok(_) => true,
                Err(mpsc::TryRecvError::Empty) => false,
                Err(mpsc::TryRecvError::Disconnected) => {
                    return Err(ServerError::Ended(self.last_words()));
                }
            };
        }
        Ok(self.ready)
    }

    fn last_words(&self) -> String {
        let log = self.dir.join("output.log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing").to_owned();
        format!("Cassandra says in {}: {last}", log.display())
    }

    fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cassandra {
    /// Starts one node with nothing in it, and waits for it.
    pub fn start(dir: &Path) -> Result<Cassandra, ServerError> {
        Cassandra::start_cluster(dir, Cluster { nodes: 1, datacenters: false })
    }

    /// Starts nodes with nothing in them, one after the other, and waits for them.
    pub fn start_cluster(dir: &Path, cluster: Cluster) -> Result<Cassandra, ServerError> {
        let port = free_address().port();
        let mut nodes = Vec::new();
        for number in 1..=cluster.nodes {
            let dir = dir.join(format!("cassandra-{number}"));
            nodes.push(Node::start(dir, port, number, cluster)?);
        }
        Ok(Cassandra { cluster, nodes, last: 0..1, spared: 0 })
    }

    /// Where the first node answers.
    #[cfg(feature = "scylla")]
    pub fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    fn address_of(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1 + node as u8], self.nodes[node].port))
    }

    /// Lets a server use it, and makes its tables.
    pub fn serve(&self, launch: &mut Launch) -> Result<(), ServerError> {
        let all = 0..self.nodes.len();
        let addresses: Vec<String> = all.map(|node| self.address_of(node).to_string()).collect();
        launch.set("store.kind", "scylla");
        launch.set("store.addresses", addresses.join(","));
        if self.cluster.datacenters {
            let copies: Vec<_> = (1..=self.cluster.nodes).map(|n| format!("dc{n}:1")).collect();
            launch.set("store.replication", copies.join(","));
            launch.set("store.datacenter", "dc1");
        } else {
            launch.set("store.replication", self.cluster.nodes);
        }
        // Nodes that only just know each other may take too long; to do it again changes nothing.
        let migrate = || launch.run(&["store", "migrate"]).map(|_| ());
        migrate().or_else(|_| migrate()).or_else(|_| migrate())
    }

    /// Never kills the first one from now on; there are others.
    pub fn spare_first(&mut self) {
        self.spared = 1;
    }

    /// kill -9 of one node: each in its turn.
    pub fn kill(&mut self) {
        self.kill_together(1);
    }

    /// kill -9 of so many nodes at once: each in its turn.
    pub fn kill_together(&mut self, count: usize) {
        self.last = self.last.end..self.last.end + count;
        self.each_killed(|node| {
            node.kill();
            Ok(())
        })
        .expect("killing does not fail");
    }

    /// kill -9 of the first nodes: those that a server is nearest to.
    pub fn lose(&mut self, count: usize) {
        self.nodes.iter_mut().take(count).for_each(Node::kill);
    }

    /// Starts them again after a kill; see `is_ready`.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        self.each_killed(|node| {
            (node.child, node.lines) = spawn(&node.dir, node.port, &node.settings)?;
            node.ready = false;
            Ok(())
        })
    }

    fn each_killed(
        &mut self,
        mut each: impl FnMut(&mut Node) -> Result<(), ServerError>,
    ) -> Result<(), ServerError> {
        let nodes = &mut self.nodes[self.spared..];
        let all = nodes.len();
        self.last.clone().try_for_each(|index| each(&mut nodes[index % all]))
    }

    /// They answer, since they were started again.
    pub fn is_ready(&mut self) -> Result<bool, ServerError> {
        let mut ready = true;
        self.each_killed(|node| {
            ready &= node.is_ready()?;
            Ok(())
        })?;
        Ok(ready)
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
    }
}
