//! The floor: the least that a durable chat server can do. It has no users, no order and no state;
//! it moves the bytes: SEND → group commit (`O_DIRECT | O_DSYNC`, second ring) → SENT to the
//! sender and DELIVER to the receiver → ACK. What it reaches on a machine is what a real server is
//! measured against.
//!
//! While a write is in flight, a message that comes could only gather. So the floor sleeps until
//! the disk is done, and takes what came meanwhile in one go: at 50 pairs and depth 1 this took
//! 12.1 µs of processor time a message, where waking for each took 14.0 to 14.9. Its writes follow
//! each other no faster than the server's, for the same reason.

use crate::body::CHAT_BYTES;
use crate::floor_wire::{Cutter, HEAD_BYTES, Head, Kind};
use crate::process;
use bytes::{Buf, Bytes, BytesMut};
use ring::{Completion, Given, RecvBuffer, Ring, RingConfig, RingMode, Target, Token, Wait};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const FILE_BYTES: u64 = 64 << 20;
/// More than all that the generator keeps in flight: 4,000 pairs, 64 messages each.
const GROUP_BYTES_MAX: usize = 24 << 20;
const MESSAGE_BYTES: usize = HEAD_BYTES + CHAT_BYTES;
const ALIGN: usize = 4096;
/// Completions of one turn: the next log write waits for no more than these.
const COMPLETIONS_MAX: usize = 1_024;

/// From the end of one write to the end of the next, at least.
const PACE: Duration = Duration::from_micros(500);

const ACCEPT: u8 = 0;
const RECV: u8 = 1;
const SEND: u8 = 2;
const WRITE: u8 = 3;

struct Conn {
    target: Target,
    cutter: Cutter,
    out: Vec<u8>,
    sending: bool,
    dirty: bool,
}

/// A message on its way through the log.
struct Message {
    from: u32,
    to: u32,
    number: u64,
    body: [u8; CHAT_BYTES],
}

struct Floor {
    ring: Ring,
    disk: Ring,
    listener: TcpListener,
    conns: Vec<Conn>,
    /// Connection of each user.
    users: Vec<u32>,
    log: Log,
    dirty: Vec<u32>,
}

/// Group commit: one write in flight, the next group gathers meanwhile.
struct Log {
    file: File,
    offset: u64,
    block: BytesMut,
    spare: Option<BytesMut>,
    gathered: Vec<Message>,
    flying: Vec<Message>,
    /// The whole block of the write in flight, to be used again.
    written: Option<Bytes>,
    /// When the last write ended.
    wrote_at: Instant,
}

/// Serves until the process is killed. Prints one JSON line when it is ready.
pub fn serve(dir: &Path, connections_max: u32) -> io::Result<()> {
    process::raise_open_files()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    rustix::net::listen(&listener, 4096)?;
    let log = Log::new(dir)?;
    let mut ring = Ring::new(&RingConfig {
        entries: 4096,
        completions: 32_768,
        files: connections_max,
        buffers: Some((2048, 4096)),
        mode: RingMode::Deferred,
    })?;
    let disk = Ring::new(&RingConfig {
        entries: 8,
        completions: 16,
        files: 0,
        buffers: None,
        mode: RingMode::Cooperative,
    })?;
    ring.accept(Token::new(ACCEPT, 0, 0), &listener);
    println!("{}", serde_json::json!({"ready": true, "port": listener.local_addr()?.port()}));
    let (conns, users, dirty) = (Vec::new(), Vec::new(), Vec::new());
    let mut floor = Floor { ring, disk, listener, conns, users, log, dirty };
    loop {
        floor.turn()?;
    }
}

impl Log {
    fn new(dir: &Path) -> io::Result<Log> {
        let path = dir.join("floor.log");
        // Written with zeros once: later writes then change no file size and no extent.
        fs::write(&path, vec![0; FILE_BYTES as usize])?;
        let file = File::open(&path)?;
        file.sync_all()?;
        // A direct write over cached pages would go to a worker thread.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let file = File::options().write(true).custom_flags(flags).open(&path)?;
        Ok(Log {
            file,
            offset: 0,
            block: aligned_block(),
            spare: Some(aligned_block()),
            gathered: Vec::new(),
            flying: Vec::new(),
            written: None,
            wrote_at: Instant::now(),
        })
    }

    fn has_room(&self) -> bool {
        (self.gathered.len() + 1) * MESSAGE_BYTES <= GROUP_BYTES_MAX
    }

    fn append(&mut self, message: Message) {
        let at = self.gathered.len() * MESSAGE_BYTES;
        let place = &mut self.block[at..at + MESSAGE_BYTES];
        place[..8].copy_from_slice(&message.number.to_le_bytes());
        place[8..12].copy_from_slice(&message.from.to_le_bytes());
        place[12..16].copy_from_slice(&message.to.to_le_bytes());
        place[HEAD_BYTES..].copy_from_slice(&message.body);
        self.gathered.push(message);
    }

    /// Submits what gathered, unless a write is in flight.
    fn write(&mut self, disk: &mut Ring) {
        let Some(spare) = self.spare.take_if(|_| !self.gathered.is_empty()) else { return };
        let bytes = (self.gathered.len() * MESSAGE_BYTES).next_multiple_of(ALIGN);
        let block = std::mem::replace(&mut self.block, spare).freeze();
        std::mem::swap(&mut self.gathered, &mut self.flying);
        if self.offset + bytes as u64 > FILE_BYTES {
            self.offset = 0;
        }
        disk.write_at(Token::new(WRITE, 0, 0), &self.file, self.offset, block.slice(..bytes));
        self.offset += bytes as u64;
        self.written = Some(block);
        disk.enter(Wait::No);
    }

    /// The write in flight is durable.
    fn wrote(&mut self) {
        let block = self.written.take().expect("one write in flight");
        let block = block.try_into_mut().expect("the ring gave its part back");
        assert_eq!(block.as_ptr().align_offset(ALIGN), 0);
        assert_eq!(block.len(), GROUP_BYTES_MAX);
        self.spare = Some(block);
    }
}

fn aligned_block() -> BytesMut {
    let mut block = BytesMut::zeroed(GROUP_BYTES_MAX + ALIGN);
    block.advance(block.as_ptr().align_offset(ALIGN));
    block.truncate(GROUP_BYTES_MAX);
    block
}

impl Floor {
    fn turn(&mut self) -> io::Result<()> {
        self.ring.enter(Wait::No);
        let idle = !self.ring.work_is_deferred() && self.ring.ready() == 0;
        match self.log.written {
            Some(_) if self.disk.ready() == 0 => self.disk.enter(Wait::Until(None)),
            None if idle => self.ring.enter(Wait::Until(None)),
            _ => {}
        }
        while let Some(completion) = self.disk.reap() {
            completion.result?;
            drop(completion.given);
            thread::sleep((self.log.wrote_at + PACE).saturating_duration_since(Instant::now()));
            self.log.wrote_at = Instant::now();
            self.log.wrote();
            self.durable();
        }
        self.ring.enter(Wait::No);
        for _ in 0..COMPLETIONS_MAX {
            let Some(completion) = self.ring.reap() else { break };
            self.completed(completion)?;
        }
        // The next write leaves before the sends that the last one allowed.
        self.log.write(&mut self.disk);
        self.flush();
        Ok(())
    }

    fn completed(&mut self, completion: Completion) -> io::Result<()> {
        let Completion { token, result, more, given, .. } = completion;
        let index = token.index;
        match token.kind {
            ACCEPT => {
                if let Given::Accepted(fd) = given {
                    self.accepted(fd)?;
                }
                if !more {
                    self.ring.accept(Token::new(ACCEPT, 0, 0), &self.listener);
                }
            }
            RECV => {
                if let Given::Received(buffer) = given {
                    self.received(index, &buffer);
                    self.ring.give_back(buffer);
                }
                let ended = match result {
                    Ok(bytes) => bytes == 0,
                    Err(error) => error.raw_os_error() != Some(libc::ENOBUFS),
                };
                if !more && !ended {
                    let target = self.conns[index as usize].target;
                    self.ring.recv_multi(Token::new(RECV, index, 0), target);
                }
            }
            SEND => {
                let conn = &mut self.conns[index as usize];
                conn.sending = false;
                if let Given::Buffer(mut buffer) = given {
                    buffer.clear();
                    if conn.out.is_empty() {
                        conn.out = buffer;
                    } else {
                        mark(&mut self.dirty, conn, index);
                    }
                }
            }
            kind => unreachable!("no operation has kind {kind}"),
        }
        Ok(())
    }

    fn accepted(&mut self, fd: std::os::fd::OwnedFd) -> io::Result<()> {
        let target = Target::Direct(self.ring.install(fd)?);
        let index = self.conns.len() as u32;
        let cutter = Cutter::default();
        self.conns.push(Conn { target, cutter, out: Vec::new(), sending: false, dirty: false });
        self.ring.recv_multi(Token::new(RECV, index, 0), target);
        Ok(())
    }

    fn received(&mut self, index: u32, buffer: &RecvBuffer) {
        let Floor { ring, conns, users, log, dirty, .. } = self;
        let mut cutter = std::mem::take(&mut conns[index as usize].cutter);
        let frames = cutter.frames(ring.bytes(buffer), |head, body| match head.kind {
            Kind::Hello => {
                let user = head.user as usize;
                users.resize(users.len().max(user + 1), 0);
                users[user] = index;
                let conn = &mut conns[index as usize];
                Head { kind: Kind::Ready, ..head }.put(&mut conn.out);
                mark(dirty, conn, index);
            }
            Kind::Send => {
                assert!(log.has_room(), "more in flight than a group of the floor holds");
                let to = users[head.user as usize];
                let body = body.try_into().expect("a body of the floor");
                log.append(Message { from: index, to, number: head.number, body });
            }
            Kind::Ack => {}
            Kind::Ready | Kind::Sent | Kind::Deliver => panic!("only servers say that"),
        });
        frames.expect("the generator speaks the floor's protocol");
        conns[index as usize].cutter = cutter;
    }

    fn durable(&mut self) {
        let mut flying = std::mem::take(&mut self.log.flying);
        for message in flying.drain(..) {
            let Message { from, to, number, body } = message;
            let conn = &mut self.conns[from as usize];
            Head { kind: Kind::Sent, user: 0, number }.put(&mut conn.out);
            mark(&mut self.dirty, conn, from);
            let conn = &mut self.conns[to as usize];
            Head { kind: Kind::Deliver, user: 0, number }.put(&mut conn.out);
            conn.out.extend_from_slice(&body);
            mark(&mut self.dirty, conn, to);
        }
        self.log.flying = flying;
    }

    fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            let conn = &mut self.conns[index as usize];
            conn.dirty = false;
            if conn.sending || conn.out.is_empty() {
                continue;
            }
            conn.sending = true;
            let out = std::mem::take(&mut conn.out);
            self.ring.send(Token::new(SEND, index, 0), conn.target, out, 0);
        }
    }
}

fn mark(dirty: &mut Vec<u32>, conn: &mut Conn, index: u32) {
    if !conn.dirty {
        conn.dirty = true;
        dirty.push(index);
    }
}
