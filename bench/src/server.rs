//! The programs under test, as children of this one.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::host;
use crate::random::Random;

/// Why a server does not run; one line.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The binary is not there.
    #[error("no server at {0}: build it with `cargo build{1} -p ringmail-engine`")]
    Missing(PathBuf, &'static str),
    /// The binary was built from something else than this program's tree.
    #[error("the server was built from commit {server}, this tree is {tree}: build both again")]
    OtherCommit {
        /// What the server says.
        server: String,
        /// What the tree says.
        tree: String,
    },
    /// It ended before it was ready.
    #[error("the server ended before it was ready: {0}")]
    Ended(String),
    /// It did not get ready in time.
    #[error("the server was not ready after {0:?}")]
    Slow(Duration),
    /// The same, with what it said.
    #[error("the server was not ready after {0:?}; it said: {1}")]
    SlowToStart(Duration, String),
    /// The system refuses.
    #[error("cannot {0}: {1}")]
    System(&'static str, std::io::Error),
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |error| ServerError::System(what, error)
}

/// A directory that goes with its holder.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new directory below `parent`, or where temporary files go.
    pub fn new(parent: Option<&Path>) -> Result<Scratch, ServerError> {
        let parent = parent.map_or_else(env::temp_dir, Path::to_owned);
        let name = format!("ringmail-bench-{}-{:x}", std::process::id(), Random::seed());
        let path = parent.join(name);
        fs::create_dir_all(&path).map_err(system("make a directory for the run"))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the place for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How to start `ringmail`.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Everything durable.
    pub data_dir: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Cores of the server.
    pub shards: u16,
    /// The only processor that it may use; `None`: all.
    pub processor: Option<usize>,
    /// Keys of its configuration.
    pub settings: Vec<(String, String)>,
}

impl Launch {
    /// A server with its data below `dir`, on a free port, with default settings but for the quota
    /// of sends: a generated device writes more than any person does.
    pub fn new(dir: &Path, shards: u16) -> Launch {
        Launch {
            data_dir: dir.join("data"),
            address: free_address(),
            shards,
            processor: None,
            settings: vec![("limits.send_burst".to_owned(), "4000000000".to_owned())],
        }
    }

    /// The next start has a new directory, with the same key, and another address.
    pub fn move_away(&mut self, number: u64) -> Result<(), ServerError> {
        let new = self.data_dir.with_file_name(format!("data-{number}"));
        fs::create_dir_all(&new).map_err(system("make another data directory"))?;
        fs::copy(self.data_dir.join("key"), new.join("key"))
            .map_err(system("copy the key of the data directory"))?;
        (self.data_dir, self.address) = (new, free_address());
        Ok(())
    }

    /// Sets a key of the configuration.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.push((key.to_owned(), value.to_string()));
    }

    /// For devices that come later and read every inbox from its first entry on.
    pub fn keep_every_entry(&mut self) {
        self.set("limits.trim_entries", u32::MAX);
    }

    /// Where the server writes its counters.
    pub fn stats_file(&self) -> PathBuf {
        self.data_dir.with_extension("stats.json")
    }

    /// Where its standard error goes.
    pub fn errors_file(&self) -> PathBuf {
        self.data_dir.with_extension("err")
    }

    /// The command that starts it.
    pub fn command(&self) -> Result<Command, ServerError> {
        let mut command = Command::new(binary()?);
        command.args(["run", "--json", "--data-dir"]).arg(&self.data_dir);
        command.args(["--listen", &self.address.to_string()]);
        command.args(["--shards", &self.shards.to_string()]);
        command.arg("--stats-file").arg(self.stats_file());
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        Ok(command)
    }

    /// Starts it; it is not ready yet.
    pub fn start(&self) -> Result<Running, ServerError> {
        Running::spawn(self.command()?, self.processor, &self.errors_file())
    }

    /// Starts it and waits until it is ready.
    pub fn start_ready(&self) -> Result<Running, ServerError> {
        let mut server = self.start()?;
        server.wait_ready(Duration::from_secs(60))?;
        let said = server.ready.as_ref().and_then(|ready| ready["commit"].as_str());
        let tree = host::commit();
        match (said, tree) {
            (Some(server), Some(tree))
                if server.trim_end_matches('+') != tree.trim_end_matches('+')
                    && server != "unknown" =>
            {
                Err(ServerError::OtherCommit { server: server.to_owned(), tree })
            }
            _ => Ok(server),
        }
    }

    /// A command of `ringmail` with its configuration.
    pub fn program(&self, arguments: &[&str]) -> Result<Command, ServerError> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--data-dir").arg(&self.data_dir);
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        Ok(command)
    }

    /// Runs a command of `ringmail`, and gives what it says.
    pub fn run(&self, arguments: &[&str]) -> Result<String, ServerError> {
        let output = self.program(arguments)?.output().map_err(system("run `ringmail`"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ServerError::Ended(error));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Tokens of device `device` of the users `first` and the `count - 1` after it.
    pub fn tokens(
        &self,
        first: u64,
        device: u32,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, ServerError> {
        let (first, device) = (first.to_string(), device.to_string());
        let lines = count.to_string();
        let text =
            self.run(&["token", "--user", &first, "--device", &device, "--count", &lines])?;
        let tokens: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(tokens.len(), count, "`ringmail token` prints a line for each user");
        Ok(tokens)
    }
}

/// The server's binary: it stands beside this program.
fn binary() -> Result<PathBuf, ServerError> {
    let here = env::current_exe().map_err(system("find this program"))?;
    // Test programs stand one directory deeper.
    let places = [here.with_file_name("ringmail"), here.with_file_name("../ringmail")];
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| ServerError::Missing(places[0].clone(), release))
}

/// An address on this machine that nobody listens on. Below the range of ports for outgoing
/// connections, so that none of those takes it while the server is down.
pub fn free_address() -> SocketAddr {
    let mut random = Random::new(Random::seed());
    loop {
        let port = 20_000 + random.below(10_000) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A child that says on its first line of output that it is ready. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// When it was started.
    pub started: Instant,
    /// The line that it got ready with.
    pub ready: Option<Value>,
    lines: Receiver<String>,
    errors: PathBuf,
}

impl Running {
    /// Starts a program, on one processor alone if told so. Its standard error goes to a file.
    pub fn spawn(
        mut command: Command,
        processor: Option<usize>,
        errors: &Path,
    ) -> Result<Running, ServerError> {
        let file = fs::File::create(errors).map_err(system("make a file for errors"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let started = Instant::now();
        // A child starts with the affinity of the thread that starts it.
        let spawn =
            move || processor.map_or(Ok(()), ring::sys::pin_to_cpu).and_then(|()| command.spawn());
        let spawned = thread::spawn(spawn).join().expect("starting a program does not panic");
        let mut child = spawned.map_err(system("start the server"))?;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Nobody may be listening any more; the output is read on, so that it never blocks.
                let _ = sender.send(line);
            }
        });
        Ok(Running { child, started, ready: None, lines, errors: errors.to_owned() })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the ready line.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<(), ServerError> {
        let end = self.started + patience;
        while !self.is_ready(end.saturating_duration_since(Instant::now()))? {
            if Instant::now() >= end {
                return Err(ServerError::SlowToStart(patience, self.last_words()));
            }
        }
        Ok(())
    }

    /// Whether it said that it is ready, within this time.
    pub fn is_ready(&mut self, patience: Duration) -> Result<bool, ServerError> {
        if self.ready.is_some() {
            return Ok(true);
        }
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.ready = serde_json::from_str(&line).ok();
                Ok(self.ready.is_some())
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(ServerError::Ended(self.last_words())),
        }
    }

    /// How it ended and what it said on standard error, if it ended by itself.
    pub fn has_ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.child.try_wait().ok().flatten()?;
        Some((status, fs::read_to_string(&self.errors).unwrap_or_default()))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let pid = Pid::from_raw(self.pid() as i32).expect("a running child");
        kill_process(pid, signal)
            .map_err(|error| ServerError::System("send the server a signal", error.into()))
    }

    /// kill -9, and waits until the kernel has removed it.
    pub fn kill(mut self) {
        self.kill_now();
    }

    fn kill_now(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for its orderly end.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.signal(Signal::TERM)?;
        let status = self.child.wait().map_err(system("wait for the server"))?;
        if !status.success() {
            return Err(ServerError::Ended(format!("{status}, {}", self.last_words())));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// The sum of all numbers under this key, wherever they stand in the server's counters.
pub fn counter(stats: &Value, name: &str) -> Option<u64> {
    let inner: Box<dyn Iterator<Item = Option<u64>>> = match stats {
        Value::Object(map) => {
            let own = map.get(name).and_then(Value::as_u64);
            Box::new(std::iter::once(own).chain(map.values().map(|value| counter(value, name))))
        }
        Value::Array(list) => Box::new(list.iter().map(|value| counter(value, name))),
        _ => return None,
    };
    inner.flatten().reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_cores() {
        let text =
            r#"{"cpu_us": 3, "cores": [{"enters": 4, "stats": {"sent": 1}}, {"enters": 5}]}"#;
        let stats: Value = serde_json::from_str(text).unwrap();
        assert_eq!(counter(&stats, "enters"), Some(9));
        assert_eq!(counter(&stats, "sent"), Some(1));
        assert_eq!(counter(&stats, "cpu_us"), Some(3));
        assert_eq!(counter(&stats, "nothing"), None);
    }
}
