//! A real Redis beside the server under test.

use crate::server::{Launch, ServerError, free_address};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server that does not listen by then does not start.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Pieces of the user space.
const SLOTS: &str = ":4096";

/// A server that keeps nothing on the disk. It ends with the thread that started it.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    address: SocketAddr,
    child: Child,
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System(what, error)
}

fn spawn(dir: &Path, address: SocketAddr) -> Result<Child, ServerError> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server", "--save", "", "--bind", "127.0.0.1"]);
    command.args(["--port", &address.port().to_string(), "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(system("run setpriv (Debian: util-linux)"))
}

impl Redis {
    /// Starts one with nothing in it, and waits for it.
    pub fn start(dir: &Path) -> Result<Redis, ServerError> {
        let (dir, address) = (dir.to_owned(), free_address());
        let child = spawn(&dir, address)?;
        let mut redis = Redis { dir, address, child };
        redis.wait()?;
        Ok(redis)
    }

    fn wait(&mut self) -> Result<(), ServerError> {
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                let words = format!("redis-server ended: {status} (Debian: redis-server)");
                return Err(ServerError::Ended(words));
            }
            if begun.elapsed() > START_PATIENCE {
                return Err(ServerError::Slow(START_PATIENCE));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Lets a server use it.
    pub fn serve(&self, launch: &mut Launch) {
        launch.set("redis.address", self.address);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after a kill, with nothing in it.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        self.child = spawn(&self.dir, self.address)?;
        self.wait()
    }

    /// Everything in it goes.
    pub fn wipe(&self) -> Result<(), ServerError> {
        match self.ask("FLUSHALL") {
            Ok(said) if said.starts_with("+OK") => Ok(()),
            Ok(said) => Err(ServerError::Ended(format!("FLUSHALL: {said}"))),
            Err(error) => Err(system("wipe Redis")(error)),
        }
    }

    /// What it says to some commands.
    fn ask(&self, commands: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    }

    /// The epoch under which a living node has every slot; `None`: it does not.
    pub fn routed_to(&self, node: SocketAddr) -> Option<u64> {
        let (slots, beat) = ("ringmail:slots", format!("ringmail:node:{node}"));
        let commands = format!("HLEN {slots}\r\nEXISTS {beat}\r\nHVALS {slots}");
        let said = self.ask(&commands).ok()?;
        let mut lines = said.lines();
        if lines.next() != Some(SLOTS) || lines.next() != Some(":1") {
            return None;
        }
        let claims = lines.filter(|line| !line.starts_with(['*', '$', '+']));
        let epochs = claims.map(|claim| {
            let (epoch, owner) = claim.split_once(' ')?;
            if owner == node.to_string() { epoch.parse().ok() } else { None }
        });
        epochs.collect::<Option<Vec<u64>>>()?.into_iter().min()
    }

    /// Pages that a node took from windows since its start, and those that the store had.
    pub fn pages(&self, node: SocketAddr) -> (u64, u64) {
        let said = self.ask(&format!("GET ringmail:node:{node}")).unwrap_or_default();
        let line = said.lines().nth(1).unwrap_or_default();
        let mut numbers = line.split(' ').skip(1).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
