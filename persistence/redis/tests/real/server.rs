//! A real redis-server for a test.

use persistence::Backend;
use ringmail_redis::{Cached, Config, Node};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Everything that is awaited comes sooner.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running server, with nothing in it. It ends with the thread that started it.
pub struct Server {
    child: Child,
    port: u16,
    options: Vec<String>,
    dir: tempfile::TempDir,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

fn spawn(dir: &Path, options: &[String]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--dir").arg(dir).args(options).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("setpriv runs (Debian: util-linux)")
}

impl Server {
    pub fn start() -> Server {
        Server::with(free_port(), &[])
    }

    /// With further options; for TLS `port` is another one than that of the options.
    pub fn with(port: u16, options: &[&str]) -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        let mut all = vec!["--port".to_owned(), port.to_string()];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let child = spawn(dir.path(), &all);
        let mut server = Server { child, port, options: all, dir };
        server.wait();
        server
    }

    /// With a certificate for 127.0.0.1, which signs itself: the server, its address, the file.
    pub fn with_tls() -> (Server, String, PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("ca.pem"));
        let mut command = Command::new("openssl");
        command.args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test".split(' '));
        command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(&key);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-out").arg(&certificate).stderr(Stdio::null());
        assert!(command.status().expect("openssl runs (Debian: openssl)").success());
        let (tls, file) = (free_port(), |path: &Path| path.to_str().expect("plain").to_owned());
        let (port, key, ca) = (tls.to_string(), file(&key), file(&certificate));
        let options = ["--tls-port", &port, "--tls-key-file", &key, "--tls-cert-file", &ca];
        let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        let server = Server::with(free_port(), &[&options[..], &more].concat());
        (server, format!("127.0.0.1:{tls}"), certificate, dir)
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("ours");
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "redis-server does not start: {ended:?} (Debian: redis-server)"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.options);
        self.wait();
    }

    /// SIGSTOP or SIGCONT: it keeps its connections, and does not answer.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    }

    /// What Redis says to a command.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("written");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("readable");
        let said = String::from_utf8_lossy(&said);
        said.strip_suffix("+OK\r\n").expect("it said goodbye").to_owned()
    }

    /// The names of keys.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let said = self.ask(&format!("KEYS {pattern}"));
        said.lines().filter(|line| line.starts_with("test:")).map(str::to_owned).collect()
    }

    pub fn config(&self) -> Config {
        Config {
            address: format!("127.0.0.1:{}", self.port),
            user: String::new(),
            password: String::new(),
            tls: false,
            ca_file: PathBuf::new(),
            prefix: "test".to_owned(),
            window_s: 600,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines that the operator sees.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

pub fn node(epoch: u64) -> Node {
    Node { address: "127.0.0.1:4848".to_owned(), epoch, slots: 0..=4095 }
}

pub fn cached(config: &Config, store: Arc<dyn Backend>, node: Node) -> (Cached, Told) {
    let told = Told::default();
    let lines = told.clone();
    let tell = Box::new(move |line: &str| lines.0.lock().expect("alone").push(line.to_owned()));
    (Cached::start(config, store, 1, node, tell).expect("starts"), told)
}

/// Waits for what must come.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}
