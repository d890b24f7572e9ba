//! Tests of the driver over loopback and a real disk, under a small core that echoes.

use crate::backend_port;
use crate::disk::PACE_US;
use crate::driver::{KernelDriver, KernelDriverConfig};
use crate::log_device::LogPlace;
use crate::mesh::{MeshPorts, mesh};
use crate::{accept, segments};
use bytes::Bytes;
use persistence::{
    BLOCK_BYTES, Backend, BackendError, Batch, IoDone, IoOp, Load, Loaded, MemberState, Page,
    Paged, Removed, Scan, Scanned, UserId,
};
use ring::Doorbell;
use shards::{
    Adoption, Ask, AskId, Claims, ConnId, CoreIndex, Driver, Effect, Event, Limits, Reply,
};
use shards::{Relay, Taken};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

struct NoStore;

impl Backend for NoStore {
    fn write(&self, _batch: &Batch) -> Result<(), BackendError> {
        Ok(())
    }
    fn load(&self, _load: &Load) -> Result<Loaded, BackendError> {
        Ok(Loaded::Member(Box::new(MemberState { taken: 7, ..MemberState::default() })))
    }
    fn scan(&self, _scan: &Scan) -> Result<Scanned, BackendError> {
        Err(BackendError::Unavailable("no scans here".to_owned()))
    }
    fn page(&self, _page: &Page) -> Result<Paged, BackendError> {
        Err(BackendError::Unavailable("no pages here".to_owned()))
    }
    fn delete_user(&self, _user: UserId) -> Result<Removed, BackendError> {
        Err(BackendError::Unavailable("no users here".to_owned()))
    }
}

struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmail-driver-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the echoing core behaves.
#[derive(Clone, Copy)]
struct Manners {
    /// Most bytes of one event that it takes.
    take_max: usize,
    /// Where it hands connections to.
    home: fn(ConnId) -> CoreIndex,
    /// Says this and closes, as soon as it receives anything.
    goodbye: Option<&'static [u8]>,
}

const KIND: Manners = Manners { take_max: usize::MAX, home: |_| 0, goodbye: None };

#[derive(Default)]
struct Out {
    gathered: Vec<u8>,
    sending: bool,
}

#[derive(Default)]
struct Counts {
    accepted: u32,
    adopted: HashMap<CoreIndex, u32>,
    closed: u32,
    done: Vec<IoDone>,
    answers: Vec<AskId>,
    stopped: bool,
}

struct Echo {
    manners: Manners,
    core: CoreIndex,
    conns: HashMap<ConnId, Out>,
    effects: VecDeque<Effect>,
    counts: Counts,
    /// Takes nothing, and does not ask.
    asleep: bool,
}

impl Echo {
    fn handle(&mut self, event: Event<'_>) -> Taken {
        match event {
            Event::Accepted { conn } => {
                self.counts.accepted += 1;
                assert!(self.conns.insert(conn, Out::default()).is_none(), "a name is used again");
            }
            Event::Adopted { conn, from, adoption } => {
                *self.counts.adopted.entry(from).or_default() += 1;
                assert!(self.conns.insert(conn, Out::default()).is_none(), "a name is used again");
                if from != self.core {
                    self.effects.push_back(Effect::Relay { to: from, relay: Relay::HandoffTaken });
                }
                self.echo(conn, &adoption.bytes);
            }
            Event::Received { conn, bytes } => return Taken(self.received(conn, bytes)),
            Event::Sent { conn, mut buffer } => {
                buffer.clear();
                let out = self.conns.get_mut(&conn).expect("sent on a connection that exists");
                out.sending = false;
                self.flush(conn);
            }
            Event::Closed { conn } => {
                self.counts.closed += 1;
                self.conns.remove(&conn).expect("closed once");
            }
            Event::Relayed { relay, .. } => assert!(matches!(relay, Relay::HandoffTaken)),
            Event::Written(done) => self.counts.done.push(done),
            Event::Answered(answer) => {
                let Ok(Reply::Loaded(Loaded::Member(state))) = answer.reply else {
                    panic!("a member was asked for")
                };
                assert_eq!(state.taken, 7);
                self.counts.answers.push(answer.id);
            }
            Event::Stop => {
                self.counts.stopped = true;
                let conns = self.conns.keys();
                self.effects.extend(conns.map(|conn| Effect::Close { conn: *conn }));
            }
        }
        Taken(0)
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        assert!(!bytes.is_empty());
        assert!(self.conns.contains_key(&conn), "bytes of a connection that is gone");
        if self.asleep {
            return 0;
        }
        if let Some(goodbye) = self.manners.goodbye {
            self.effects.push_back(Effect::Send { conn, buffer: goodbye.to_vec() });
            self.effects.push_back(Effect::Close { conn });
            return 0;
        }
        // A piece of a HELLO: the core has to ask for the next one.
        if bytes[0] == b'.' {
            self.effects.push_back(Effect::Receive { conn });
            return 1;
        }
        // A whole one.
        if bytes[0] == b'H' {
            let claims = Claims::new(1, 1).expect("a user");
            let adoption = Box::new(Adoption { claims, bytes: bytes[1..].to_vec() });
            let to = (self.manners.home)(conn);
            self.effects.push_back(Effect::Handoff { conn, to, adoption });
            return bytes.len();
        }
        let taken = bytes.len().min(self.manners.take_max);
        self.echo(conn, &bytes[..taken]);
        if taken < bytes.len() {
            self.effects.push_back(Effect::Receive { conn });
        }
        taken
    }

    fn echo(&mut self, conn: ConnId, bytes: &[u8]) {
        self.conns.get_mut(&conn).expect("exists").gathered.extend_from_slice(bytes);
        self.flush(conn);
    }

    fn flush(&mut self, conn: ConnId) {
        let out = self.conns.get_mut(&conn).expect("exists");
        if !out.sending && !out.gathered.is_empty() {
            out.sending = true;
            let buffer = std::mem::take(&mut out.gathered);
            self.effects.push_back(Effect::Send { conn, buffer });
        }
    }
}

struct Rig {
    driver: KernelDriver,
    core: Echo,
    dir: Arc<TempDir>,
}

impl Rig {
    /// On the thread that will run it.
    fn new(parts: Parts) -> Rig {
        let Parts { config, mesh, port, stop, manners, dir } = parts;
        let core = mesh.core();
        let driver = KernelDriver::new(config, mesh, port, stop).unwrap();
        let counts = Counts::default();
        let (conns, effects) = (HashMap::new(), VecDeque::new());
        Rig { driver, core: Echo { manners, core, conns, effects, counts, asleep: false }, dir }
    }

    fn turn(&mut self) {
        let now = self.driver.now();
        let core = &mut self.core;
        self.driver.reap(64, &mut |event| core.handle(event));
        self.driver.drain(64, &mut |event| core.handle(event));
        while let Some(effect) = core.effects.pop_front() {
            self.driver.take(effect);
        }
        self.driver.wait(Some(now.mono_us + 20_000));
    }

    fn turn_until(&mut self, done: impl Fn(&Echo) -> bool) {
        for _ in 0..100_000 {
            if done(&self.core) {
                return;
            }
            self.turn();
        }
        panic!("what was awaited did not happen");
    }

    /// Runs until it was told to stop and everything is closed.
    fn run(mut self) -> Rig {
        self.turn_until(|core| core.counts.stopped && core.conns.is_empty());
        self
    }
}

/// What a rig is made of; may go to another thread.
struct Parts {
    config: KernelDriverConfig,
    mesh: MeshPorts,
    port: backend_port::BackendPort,
    stop: Arc<AtomicBool>,
    manners: Manners,
    dir: Arc<TempDir>,
}

/// Parts for some cores that listen at one address, and what stops them.
fn parts(cores: u16, manners: Manners, change: fn(&mut KernelDriverConfig)) -> (Vec<Parts>, Stop) {
    let dir = Arc::new(TempDir::new());
    let stop = Arc::new(AtomicBool::new(false));
    let meshes = mesh(cores, 1024).unwrap();
    let bells: Vec<_> = meshes.iter().map(|mesh: &MeshPorts| mesh.doorbell().clone()).collect();
    let limits = Limits { asks_max: 16, ..Limits::default() };
    let (ports, _) =
        backend_port::start(Arc::new(NoStore), bells.clone(), &limits, (1, 1)).unwrap();
    let listen = accept::probe("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = KernelDriverConfig {
        listen,
        limits: Limits { connections_max: 512, segment_bytes: 64 * 1024, ..Limits::default() },
        recv_buffers: 64,
        recv_buffer_bytes: 1024,
        log: LogPlace::Dir(dir.0.clone()),
        cores_beyond_older: Arc::new(AtomicU16::new(0)),
    };
    change(&mut config);
    let parts = meshes.into_iter().zip(ports).map(|(mesh, port)| {
        let (config, stop, dir) = (config.clone(), stop.clone(), dir.clone());
        Parts { config, mesh, port, stop, manners, dir }
    });
    (parts.collect(), Stop { stop, bells, listen })
}

struct Stop {
    stop: Arc<AtomicBool>,
    bells: Vec<Arc<Doorbell>>,
    listen: SocketAddr,
}

impl Stop {
    fn now(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bells.iter().for_each(|bell| bell.ring());
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listen).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

/// Runs `clients` beside one core, and gives both results.
fn with_core<T: Send + 'static>(
    manners: Manners,
    change: fn(&mut KernelDriverConfig),
    clients: impl FnOnce(&Stop) -> T + Send + 'static,
) -> (Rig, T) {
    let (mut parts, stop) = parts(1, manners, change);
    let rig = Rig::new(parts.remove(0));
    let clients: JoinHandle<T> = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clients(&stop)));
        stop.now();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let rig = rig.run();
    (rig, clients.join().unwrap())
}

/// Sends `bytes` behind a HELLO while reading them back.
fn echo(stream: &TcpStream, bytes: &[u8]) {
    let sent = bytes.to_vec();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(b"H").unwrap();
        // HELLO is awaited alone, as a client does before it knows the limits.
        thread::sleep(Duration::from_millis(2));
        writer.write_all(&sent).unwrap();
    });
    let mut back = vec![0; bytes.len()];
    (&*stream).read_exact(&mut back).unwrap();
    assert!(back == bytes, "the echo differs");
    writing.join().unwrap();
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    // Without 'H', which is HELLO to the core.
    (0..bytes).map(|i| b'a' + ((i * 31 + i / 251 + seed) % 26) as u8).collect()
}

#[test]
fn many_connections_get_their_own_bytes_and_names_come_back_renewed() {
    let (rig, ()) = with_core(
        KIND,
        |_| {},
        |stop| {
            for round in 0..5 {
                let streams: Vec<_> = (0..50).map(|_| stop.connect()).collect();
                for (i, stream) in streams.iter().enumerate() {
                    echo(stream, &pattern(3000, round + i));
                }
            }
        },
    );
    let counts = &rig.core.counts;
    assert_eq!((counts.accepted, counts.adopted[&0]), (250, 250));
    assert_eq!(counts.closed, 500, "each is closed once as a stranger and once as a session");
    assert!(rig.driver.stats().enters > 0 && rig.driver.stats().overflows == 0);
}

#[test]
fn what_was_not_taken_is_offered_first_and_nothing_overtakes_it() {
    let manners = Manners { take_max: 100, ..KIND };
    with_core(manners, |_| {}, |stop| echo(&stop.connect(), &pattern(200_000, 0)));
}

#[test]
fn a_flood_at_a_core_that_does_not_read_stays_in_the_socket() {
    let (mut parts, stop) = parts(1, KIND, |_| {});
    let mut rig = Rig::new(parts.remove(0));
    let mut client = stop.connect();
    client.write_all(b"H").unwrap();
    rig.turn_until(|core| core.counts.adopted.contains_key(&0));
    let conn = *rig.core.conns.keys().next().expect("adopted");
    client.set_nonblocking(true).unwrap();
    let (flood, mut sent, mut back) = (pattern(2 << 20, 0), 0, Vec::new());
    let mut pass = |rig: &mut Rig, upto: usize, sent: &mut usize, back: &mut Vec<u8>| {
        let mut buffer = [0; 16 * 1024];
        if let Ok(bytes) = client.write(&flood[*sent..upto]) {
            *sent += bytes;
        }
        rig.turn();
        if let Ok(bytes) = client.read(&mut buffer) {
            back.extend_from_slice(&buffer[..bytes]);
        }
    };
    // So that it is hot: its receive goes on.
    for upto in [10, 20, 30] {
        while back.len() < upto {
            pass(&mut rig, upto, &mut sent, &mut back);
        }
    }
    rig.core.asleep = true;
    for _ in 0..200 {
        pass(&mut rig, 2 << 20, &mut sent, &mut back);
    }
    let pool_bytes = 64 * 1024;
    let held = rig.driver.sockets.held_bytes(conn);
    assert!(held > 0 && held <= pool_bytes && back.len() == 30, "{held}");
    assert!(sent > 2 * pool_bytes, "the socket has more");
    rig.core.asleep = false;
    rig.core.effects.push_back(Effect::Receive { conn });
    while back.len() < 2 << 20 {
        pass(&mut rig, 2 << 20, &mut sent, &mut back);
    }
    assert!(back == flood, "all of it in order");
}

#[test]
fn a_hello_that_trickles_is_received_piece_by_piece() {
    with_core(
        KIND,
        |_| {},
        |stop| {
            let mut stream = stop.connect();
            for pieces in [&b"."[..], b"..", b"."] {
                stream.write_all(pieces).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
            echo(&stream, &pattern(5_000, 0));
        },
    );
}

#[test]
fn a_pool_of_eight_buffers_serves_many_senders() {
    let (rig, ()) = with_core(
        KIND,
        |config| config.recv_buffers = 8,
        |stop| {
            let threads: Vec<_> = (0..40)
                .map(|i| {
                    let stream = stop.connect();
                    thread::spawn(move || echo(&stream, &pattern(100_000, i)))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        },
    );
    assert!(rig.driver.stats().sockets.buffers_empty > 0, "the pool was never empty");
}

#[test]
fn connections_that_end_at_any_moment_are_closed_once_and_leave_nothing() {
    let (rig, ()) = with_core(
        KIND,
        |_| {},
        |stop| {
            for i in 0..400usize {
                let mut stream = stop.connect();
                match i % 5 {
                    0 => {}
                    1 => stream.write_all(b"H").unwrap(),
                    2 => stream.write_all(b"Hello").unwrap(),
                    3 => {
                        stream.write_all(b"Hello").unwrap();
                        stream.shutdown(Shutdown::Write).unwrap();
                    }
                    // A reset: what was sent back is never read.
                    _ => {
                        echo(&stream, b"hi");
                        stream.write_all(&pattern(50_000, i)).unwrap();
                    }
                }
            }
        },
    );
    let counts = &rig.core.counts;
    assert_eq!(counts.closed, counts.accepted + counts.adopted[&0]);
    assert!(rig.core.conns.is_empty());
}

#[test]
fn what_was_sent_before_a_close_arrives_though_the_peer_is_not_read() {
    let manners = Manners { goodbye: Some(b"too big"), ..KIND };
    with_core(
        manners,
        |_| {},
        |stop| {
            for _ in 0..20 {
                let mut stream = stop.connect();
                stream.write_all(&pattern(20_000, 0)).unwrap();
                let mut said = Vec::new();
                stream.read_to_end(&mut said).unwrap();
                assert_eq!(said, b"too big");
            }
        },
    );
}

#[test]
fn above_the_limit_a_connection_is_closed_at_once_and_counted() {
    let (rig, ()) = with_core(
        KIND,
        |config| config.limits.connections_max = 3,
        |stop| {
            let streams: Vec<_> = (0..3).map(|_| stop.connect()).collect();
            streams.iter().for_each(|stream| echo(stream, b"in"));
            assert_eq!(stop.connect().read(&mut [0]).unwrap_or(0), 0);
            (&streams[0]).write_all(b"still in").unwrap();
            (&streams[0]).read_exact(&mut [0; 8]).unwrap();
        },
    );
    assert_eq!(rig.driver.stats().sockets.refused, 1);
}

#[test]
fn a_connection_moves_to_its_home_with_its_first_bytes() {
    let manners = Manners { home: |conn| (conn.index % 2) as CoreIndex, ..KIND };
    let (mut parts, stop) = parts(2, manners, |_| {});
    let cores: Vec<_> = parts
        .drain(..)
        .map(|parts| thread::spawn(move || Rig::new(parts).run().core.counts))
        .collect();
    thread::sleep(Duration::from_millis(50));
    for _ in 0..5 {
        let streams: Vec<_> = (0..40).map(|_| stop.connect()).collect();
        for (i, stream) in streams.iter().enumerate() {
            echo(stream, &pattern(5000, i));
        }
    }
    stop.now();
    let counts: Vec<_> = cores.into_iter().map(|core| core.join().unwrap()).collect();
    let moved = |to: usize, from| counts[to].adopted.get(&from).copied().unwrap_or(0);
    assert!(moved(0, 1) > 0 && moved(1, 0) > 0, "no connection moved");
    assert_eq!((0..2).map(|to| moved(to, 0) + moved(to, 1)).sum::<u32>(), 200);
    assert!(counts.iter().all(|c| c.closed == c.accepted + c.adopted.values().sum::<u32>()));
}

/// Bytes at an address that O_DIRECT accepts.
fn aligned(blocks: usize, byte: u8) -> Bytes {
    let memory = Bytes::from(vec![byte; (blocks + 1) * BLOCK_BYTES]);
    let skip = memory.as_ptr().align_offset(BLOCK_BYTES);
    memory.slice(skip..skip + blocks * BLOCK_BYTES)
}

fn rig() -> Rig {
    let (mut parts, _) = parts(1, KIND, |_| {});
    Rig::new(parts.remove(0))
}

impl Rig {
    fn disk(&mut self, op: IoOp) {
        self.core.effects.push_back(Effect::Write(op));
    }

    fn disk_done(&mut self, count: usize) -> Vec<IoDone> {
        self.turn_until(|core| core.counts.done.len() == count);
        std::mem::take(&mut self.core.counts.done)
    }
}

fn write(id: u64, segment: u32, block: u32, byte: u8) -> IoOp {
    let offset = block * BLOCK_BYTES as u32;
    IoOp::Write { id, segment, offset, bytes: aligned(2, byte) }
}

#[test]
fn log_writes_land_directly_and_synced_several_at_once() {
    let mut rig = rig();
    rig.disk(IoOp::Prepare { segment: 3 });
    assert_eq!(rig.disk_done(1), [IoDone::Prepared { segment: 3 }]);
    (0..4).for_each(|i| rig.disk(write(i, 3, 2 * i as u32, b'a' + i as u8)));
    let mut done = rig.disk_done(4);
    done.sort_by_key(|done| format!("{done:?}"));
    assert_eq!(done, [0, 1, 2, 3].map(|id| IoDone::Written { id }));

    let path = segments::segment_path(&rig.dir.0, 3);
    let content = std::fs::read(&path).unwrap();
    assert_eq!(content.len(), 64 * 1024);
    for (block, bytes) in content.chunks(BLOCK_BYTES).enumerate() {
        let expected = if block < 8 { b'a' + block as u8 / 2 } else { 0 };
        assert!(bytes.iter().all(|byte| *byte == expected), "block {block}");
    }
    assert_eq!(open_flags(&path) & (O_DIRECT | O_DSYNC), O_DIRECT | O_DSYNC);
}

const O_DIRECT: u32 = rustix::fs::OFlags::DIRECT.bits();
const O_DSYNC: u32 = rustix::fs::OFlags::DSYNC.bits();

/// The flags under which this process has the file open, as the kernel tells them.
fn open_flags(path: &std::path::Path) -> u32 {
    let mut links = std::fs::read_dir("/proc/self/fd").unwrap().map(|link| link.unwrap().path());
    let fd = links
        .find(|link| std::fs::read_link(link).is_ok_and(|to| to == path))
        .expect("the segment is open");
    let info = format!("/proc/self/fdinfo/{}", fd.file_name().unwrap().to_str().unwrap());
    let info = std::fs::read_to_string(info).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap()
}

#[test]
fn a_retired_segment_is_used_again_and_reads_as_empty() {
    let mut rig = rig();
    rig.disk(IoOp::Prepare { segment: 0 });
    rig.disk_done(1);
    rig.disk(write(0, 0, 0, b'x'));
    rig.disk_done(1);
    let inode = |rig: &Rig, segment| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(segments::segment_path(&rig.dir.0, segment)).map(|meta| meta.ino())
    };
    let first = inode(&rig, 0).unwrap();
    rig.disk(IoOp::Retire { segment: 0 });
    rig.disk(IoOp::Prepare { segment: 1 });
    assert_eq!(rig.disk_done(1), [IoDone::Prepared { segment: 1 }]);
    assert_eq!(inode(&rig, 1).unwrap(), first);
    assert!(inode(&rig, 0).is_err());
    let content = std::fs::read(segments::segment_path(&rig.dir.0, 1)).unwrap();
    assert!(content[..BLOCK_BYTES].iter().all(|byte| *byte == 0));
}

#[test]
fn a_busy_log_keeps_its_pace() {
    let mut rig = rig();
    rig.disk(IoOp::Prepare { segment: 0 });
    rig.disk_done(1);
    let begun = Instant::now();
    let sleeps = rig.driver.stats().sleeps;
    for id in 0..100 {
        rig.disk(write(id, 0, 0, b'x'));
        rig.disk_done(1);
    }
    assert!(begun.elapsed() >= 99 * Duration::from_micros(PACE_US), "{:?}", begun.elapsed());
    // It sleeps for the disk and then for the pace, and does not spin.
    let sleeps = rig.driver.stats().sleeps - sleeps;
    assert!(sleeps <= 400, "slept {sleeps} times for 100 writes");
}

#[test]
fn the_backends_answer_wakes_the_core() {
    let mut rig = rig();
    let (low, high) = (Claims::new(1, 1).unwrap().user, Claims::new(2, 1).unwrap().user);
    let load = Load::Conversation(persistence::ConvKey::new(low, high).unwrap());
    for id in 0..100 {
        rig.core.effects.push_back(Effect::Ask { id: AskId(id), ask: Ask::Load(load) });
        rig.turn_until(|core| core.counts.answers.last() == Some(&AskId(id)));
    }
    // A lost wake would have cost a timeout of 20 ms each.
    assert!(rig.driver.stats().sleeps < 400);
}
