//! A server and chat programs as children, the latter in pseudo-terminals.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(30);
const ROWS: NonZero<u16> = NonZero::new(70).expect("not 0");
const COLUMNS: NonZero<u16> = NonZero::new(100).expect("not 0");

/// An empty directory for this test.
pub fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ringmail-chat-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    dir
}

/// The server's program, built if need be. `SERVER_IS_BUILT`: by what runs all tests.
fn server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let chat = Path::new(env!("CARGO_BIN_EXE_ringmail-chat"));
        let (target, profile) = (chat.parent().unwrap().parent().unwrap(), chat.parent().unwrap());
        if std::env::var_os("SERVER_IS_BUILT").is_some() {
            return profile.join("ringmail");
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "ringmail-engine", "--bin", "ringmail"]);
        // What the outer cargo says of this crate; build programs of others would run again for it.
        let own =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        std::env::vars().filter(|(name, _)| own(name)).for_each(|(name, _)| {
            build.env_remove(name);
        });
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(target);
        assert!(build.status().expect("cargo runs").success(), "the server builds");
        profile.join("ringmail")
    })
}

/// An address that nobody listens on. Below the range of ports for outgoing connections, so that
/// none of those takes it while the server is down.
fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 20_000 + number % 10_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

pub struct Server {
    pub address: String,
    data: PathBuf,
    cores: u16,
    child: Child,
}

impl Server {
    pub fn start(dir: &Path) -> Server {
        Server::start_with(dir, 1)
    }

    pub fn start_with(dir: &Path, cores: u16) -> Server {
        let (address, data) = (free_address(), dir.join("data"));
        let child = Server::spawn(&address, &data, cores);
        Server { address, data, cores, child }
    }

    fn spawn(address: &str, data: &Path, cores: u16) -> Child {
        let mut server = Command::new(server_program());
        server.arg("--data-dir").arg(data).args(["--listen", address]);
        server.args(["--shards", &cores.to_string(), "--pin", "false"]).stdout(Stdio::null());
        let mut child = server.spawn().expect("the server starts");
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("own child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(started.elapsed() < PATIENCE, "the server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        child
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("own child");
        self.child.wait().expect("own child");
        // The kernel gives up its ring, and with it the listener, a little later.
        let started = Instant::now();
        while TcpStream::connect(&self.address).is_ok() {
            assert!(started.elapsed() < PATIENCE, "the dead server still listens");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn restart(&mut self) {
        self.child = Server::spawn(&self.address, &self.data, self.cores);
    }

    pub fn token(&self, user: u64) -> String {
        self.token_of(user, 1)
    }

    pub fn token_of(&self, user: u64, device: u32) -> String {
        let mut mint = Command::new(server_program());
        mint.args(["token", "--user", &user.to_string(), "--device", &device.to_string()]);
        mint.arg("--data-dir").arg(&self.data);
        let output = mint.output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token").trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chat program in a terminal of its own.
pub struct Chat {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Chat {
    pub fn start(server: &Server, dir: &Path, user: u64, to: u64) -> Chat {
        Chat::start_device(server, dir, (user, 1), to)
    }

    pub fn start_device(server: &Server, dir: &Path, who: (u64, u32), to: u64) -> Chat {
        let (user, device) = who;
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("own terminal");
        unlockpt(&master).expect("own terminal");
        let size =
            Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("own terminal");
        let name = ptsname(&master, Vec::new()).expect("own terminal");
        let slave = || {
            let path = name.to_str().expect("a path");
            let slave = OpenOptions::new().read(true).write(true).open(path);
            Stdio::from(slave.expect("the terminal opens"))
        };
        // The terminal must be the program's own, not the one that the test was started from.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_ringmail-chat")])
            .args(["--server", &server.address, "--token", &server.token_of(user, device)])
            .args(["--to", &to.to_string(), "--journal"])
            .arg(dir.join(format!("chat-{user}-{device}")))
            .env("TERM", "xterm-256color")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("setsid is installed");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let keys = File::from(master);
        let (mut output, shown) = (keys.try_clone().expect("a descriptor"), screen.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                shown.lock().expect("no panic").process(&buffer[..count]);
            }
        });
        let mut chat = Chat { child, keys, screen };
        chat.sees("/help /quit");
        chat
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        write!(self.keys, "{line}\r").expect("the terminal takes it");
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        write!(self.keys, "{keys}").expect("the terminal takes it");
    }

    pub fn sees_no(&mut self, text: &str) {
        let started = Instant::now();
        while self.contents().contains(text) {
            assert!(started.elapsed() < PATIENCE, "still {text:?} in\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this text is there in this colour.
    pub fn sees_in(&mut self, text: &str, colour: vt100::Color) {
        let started = Instant::now();
        loop {
            let screen = self.screen.lock().expect("no panic").screen().clone();
            let starts = |row: u16, column: u16| {
                let cells = (column..COLUMNS.get()).filter_map(|column| screen.cell(row, column));
                let rest: String = cells.map(|cell| cell.contents().to_owned()).collect();
                rest.starts_with(text)
            };
            let mut places = (0..ROWS.get())
                .flat_map(|row| (0..COLUMNS.get()).map(move |column| (row, column)))
                .filter(|&(row, column)| starts(row, column));
            let found = places.any(|(row, column)| {
                screen.cell(row, column).is_some_and(|cell| cell.fgcolor() == colour)
            });
            if found {
                return;
            }
            let contents = screen.contents();
            assert!(started.elapsed() < PATIENCE, "no {text:?} in {colour:?} in\n{contents}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn sees(&mut self, text: &str) {
        self.sees_within(text, PATIENCE);
    }

    pub fn sees_within(&mut self, text: &str, patience: Duration) {
        let started = Instant::now();
        while !self.contents().contains(text) {
            assert!(started.elapsed() < patience, "no {text:?} in\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys until the text is there.
    pub fn presses_until(&mut self, keys: &str, text: &str) {
        let started = Instant::now();
        while !self.contents().contains(text) {
            assert!(started.elapsed() < PATIENCE, "no {text:?} in\n{}", self.contents());
            self.press(keys);
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn contents(&self) -> String {
        self.screen.lock().expect("no panic").screen().contents()
    }

    /// The lines of the conversation that is shown, without its title, times and receipts.
    pub fn conversation(&self) -> Vec<String> {
        let contents = self.contents();
        let right = contents.lines().filter_map(|line| line.split_once('│'));
        let lines = right.skip(1).map(|(_, line)| {
            let (_, line) = line.split_at_checked(6).unwrap_or(("", line));
            line.trim().replace("✓✓ ", "✓ ")
        });
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("own child");
        self.child.wait().expect("own child");
    }

    /// The program ends by itself, in order.
    pub fn ended(mut self) {
        assert!(self.child.wait().expect("own child").success());
    }

    /// What a program without input or terminal says on its way out.
    pub fn plain(server: &str, token: &str, journal: &Path) -> String {
        let mut chat = Command::new("timeout")
            .args(["30", env!("CARGO_BIN_EXE_ringmail-chat")])
            .args(["--plain", "--server", server, "--token", token, "--journal"])
            .arg(journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Until it is online, or has ended.
        let (mut said, mut out) = (Vec::new(), chat.stdout.take().expect("piped"));
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).contains("! online") {
            match out.read(&mut byte) {
                Ok(1) => said.push(byte[0]),
                _ => break,
            }
        }
        drop(chat.stdin.take());
        let output = chat.wait_with_output().expect("own child");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the history without its time, which must be there; others as they are.
pub fn without_time(line: &str) -> &str {
    let Some(mark) = line.find(['✓', '<']).filter(|_| !line.starts_with('○')) else {
        return line;
    };
    let (time, rest) = line.split_at(mark);
    let clock = time.trim_end().rsplit(' ').next().unwrap_or_default();
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = clock.split_once(':');
    assert!(parts.is_some_and(|(h, m)| digits(h) && digits(m)), "no time in front of {line:?}");
    rest
}

/// A chat program for scripts.
pub struct Plain {
    child: Child,
    input: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Plain {
    pub fn start(server: &Server, token: &str, journal: &Path, to: u64) -> Plain {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmail-chat"))
            .args(["--plain", "--server", &server.address, "--token", token])
            .args(["--to", &to.to_string(), "--journal"])
            .arg(journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = lines.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                said.lock().expect("no panic").push(line);
            }
        });
        Plain { child, input, lines }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the program listens");
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Waits for this very line.
    pub fn sees(&self, line: &str) {
        let started = Instant::now();
        while !self.lines().iter().any(|said| said == line) {
            assert!(started.elapsed() < PATIENCE, "no {line:?} in {:#?}", self.lines());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
