//! A real Cassandra for the tests of one process: `persistence/scylla/cassandra`.

use ringmail_scylla::{Config, Replication, Scylla};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running node. It ends with this process, which holds its standard input.
pub struct Node {
    child: Child,
    dir: PathBuf,
    port: u16,
    settings: Settings,
}

/// Of the script.
pub type Settings = Vec<(&'static str, String)>;

/// Two ports in a row that nobody listens on.
fn free_port() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("bound").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports in a row");
}

fn spawn(dir: &Path, port: u16, settings: &Settings) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cassandra");
    let mut command = Command::new(script);
    command.arg(dir).arg(port.to_string()).env("CASSANDRA_UNTIL_EOF", "1");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("bash runs persistence/scylla/cassandra");
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("readable");
    let words = || std::fs::read_to_string(dir.join("output.log")).unwrap_or_default();
    assert!(line.starts_with("ready "), "Cassandra did not start: {line}\n{}", words());
    child
}

impl Node {
    /// Starts one with nothing in it.
    pub fn start(settings: Settings) -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cassandra-{number}"));
        // Of a run before: the shared one is never dropped.
        let _ = std::fs::remove_dir_all(&dir);
        let port = free_port();
        Node { child: spawn(&dir, port, &settings), dir, port, settings }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }

    pub fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.port, &self.settings);
    }

    /// A keyspace of its own, not made yet.
    pub fn config(&self) -> Config {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Config {
            addresses: vec![format!("127.0.0.1:{}", self.port)],
            keyspace: format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            user: String::new(),
            password: String::new(),
            tls_ca: String::new(),
            datacenter: String::new(),
            replication: Replication::Everywhere(1),
            level: wire::AckLevel::Local,
        }
    }

    /// An empty store.
    pub fn store(&self) -> (Config, Scylla) {
        let config = self.config();
        Scylla::migrate(&config).expect("migrated");
        let store = Scylla::open(&config, "test").expect("opens");
        (config, store)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The one that tests share which leave it alone.
pub fn shared() -> &'static Node {
    static SHARED: OnceLock<Node> = OnceLock::new();
    SHARED.get_or_init(|| Node::start(vec![("CASSANDRA_BRIEF", "1".to_owned())]))
}
