//! A real Cassandra beside the server under test: `persistence/scylla/cassandra`.

use crate::server::{Launch, ServerError, free_address};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// One node. It ends with this program, which holds its standard input.
#[derive(Debug)]
pub struct Cassandra {
    dir: PathBuf,
    address: SocketAddr,
    child: Child,
    lines: Receiver<String>,
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |error| ServerError::System(what, error)
}

fn spawn(dir: &Path, address: SocketAddr) -> Result<(Child, Receiver<String>), ServerError> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../persistence/scylla/cassandra");
    let mut command = Command::new(script);
    command.arg(dir).arg(address.port().to_string()).env("CASSANDRA_UNTIL_EOF", "1");
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

impl Cassandra {
    /// Starts one with nothing in it, and waits for it.
    pub fn start(dir: &Path) -> Result<Cassandra, ServerError> {
        let (dir, address) = (dir.join("cassandra"), free_address());
        let (child, lines) = spawn(&dir, address)?;
        let mut node = Cassandra { dir, address, child, lines };
        match node.lines.recv_timeout(Duration::from_secs(300)) {
            Ok(line) if line.starts_with("ready ") => Ok(node),
            _ => Err(ServerError::Ended(node.last_words())),
        }
    }

    /// Where it answers.
    #[cfg(feature = "scylla")]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn last_words(&mut self) -> String {
        let log = self.dir.join("output.log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing").to_owned();
        format!("Cassandra says in {}: {last}", log.display())
    }

    /// Lets a server use it, and makes its tables.
    pub fn serve(&self, launch: &mut Launch) -> Result<(), ServerError> {
        launch.set("store.kind", "scylla");
        launch.set("store.addresses", self.address);
        launch.set("store.replication", 1);
        launch.run(&["store", "migrate"]).map(|_| ())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after a kill; see `is_ready`.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        (self.child, self.lines) = spawn(&self.dir, self.address)?;
        Ok(())
    }

    /// It answers, since it was started again.
    pub fn is_ready(&mut self) -> Result<bool, ServerError> {
        match self.lines.try_recv() {
            Ok(_) => Ok(true),
            Err(mpsc::TryRecvError::Empty) => Ok(false),
            Err(mpsc::TryRecvError::Disconnected) => Err(ServerError::Ended(self.last_words())),
        }
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        self.kill();
    }
}
