//! Cores with disks, lanes and clients in memory, in steps of a millisecond. Unless a test brings
//! a store, there is one that takes every batch and never says anything but "empty", so what a
//! test needs stays in the log.

use persistence::MemoryStore as Store;
use persistence::{FoundLog, IoDone, IoOp, Loaded, Recovered};
use shards::{
    Adoption, Answer, Ask, Claims, ConnId, Core, CoreConfig, CoreIndex, Driver, Effect, Event,
    Handle, Limits, Now, Relay, Reply, Stats, Taken, token::Key, turn,
};
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use wire::{AckLevel, ClientFrame, DeviceId, Hello, OutboxId, ServerFrame, UserId};

/// Limits under which nothing is evicted or flushed while a test runs, and each window of marks
/// brings a receipt.
pub fn limits() -> Limits {
    Limits { flush_ms: 1 << 40, receipt_rest_ms: 0, ..Limits::default() }
}

/// A client's name in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    core: CoreIndex,
    conn: ConnId,
}

#[derive(Default)]
struct Link {
    input: Vec<u8>,
    /// Contents of frames that nobody looked at.
    frames: Vec<Vec<u8>>,
    partial: Vec<u8>,
    /// The core ended it.
    closed: bool,
}

/// One core's driver.
#[derive(Default)]
struct Memory {
    now: Now,
    done: VecDeque<Event<'static>>,
    links: BTreeMap<ConnId, Link>,
    lanes_out: Vec<(CoreIndex, Relay)>,
    lanes_in: VecDeque<(CoreIndex, Relay)>,
    segments: BTreeMap<u32, Vec<u8>>,
    /// Relays that left.
    relays: Vec<Relay>,
    /// Writes become durable only when told.
    disk_waits: bool,
    store: Option<Rc<RefCell<Store>>>,
    /// Answers to reads come only when told.
    store_waits: bool,
    answers: Vec<Event<'static>>,
    held: Vec<Event<'static>>,
    /// Sends stay on their way for ever.
    sends_wait: bool,
}

impl Driver for Memory {
    fn now(&mut self) -> Now {
        self.now
    }

    fn reap(&mut self, max: usize, handle: Handle<'_>) {
        for _ in 0..max.min(self.done.len()) {
            handle(self.done.pop_front().expect("counted"));
        }
        for (&conn, link) in &mut self.links {
            if !link.input.is_empty() {
                let Taken(taken) = handle(Event::Received { conn, bytes: &link.input });
                link.input.drain(..taken);
            }
        }
    }

    fn drain(&mut self, _max: usize, handle: Handle<'_>) {
        while let Some((from, relay)) = self.lanes_in.pop_front() {
            handle(Event::Relayed { from, relay });
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send { conn, buffer } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.receive(&buffer);
                }
                if !self.sends_wait {
                    self.done.push_back(Event::Sent { conn, buffer });
                }
            }
            Effect::Close { conn } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.closed = true;
                }
                self.done.push_back(Event::Closed { conn });
            }
            Effect::Relay { to, relay } => {
                self.relays.push(relay.clone());
                self.lanes_out.push((to, relay));
            }
            Effect::Write(op) => self.write(op),
            Effect::Ask { id, ask } => {
                let reply = match &self.store {
                    Some(store) => ask_store(&mut store.borrow_mut(), &ask),
                    None => ask_nothing(&ask),
                };
                let event = Event::Answered(Answer { id, reply: Ok(reply) });
                match self.store_waits && !matches!(ask, Ask::Write(_)) {
                    true => self.answers.push(event),
                    false => self.done.push_back(event),
                }
            }
            Effect::Receive { .. } => {}
            Effect::Handoff { conn, to, adoption } => self.hand_over(conn, to, adoption),
        }
    }

    fn wait(&mut self, _until_us: Option<u64>) {}
}

fn ask_nothing(ask: &Ask) -> Reply {
    match ask {
        Ask::Write(_) => Reply::Written,
        Ask::Load(load) => Reply::Loaded(Loaded::empty(load)),
        Ask::Page(page) => Reply::Paged(empty_page(page)),
        Ask::Scan(scan) => panic!("everything is in memory: {scan:?}"),
    }
}

fn ask_store(store: &mut Store, ask: &Ask) -> Reply {
    match ask {
        Ask::Write(batch) => {
            store.write(batch, || true);
            Reply::Written
        }
        Ask::Load(load) => Reply::Loaded(store.load(load)),
        Ask::Page(page) => Reply::Paged(store.page(page)),
        Ask::Scan(scan) => Reply::Scanned(store.scan(scan, scan.entries_max)),
    }
}

fn empty_page(page: &persistence::Page) -> persistence::Paged {
    match page {
        persistence::Page::Messages { .. } => persistence::Paged::Messages(Vec::new()),
        persistence::Page::Chats { .. } => persistence::Paged::Chats(Vec::new()),
        persistence::Page::Contacts { .. } => persistence::Paged::Contacts(Vec::new()),
    }
}

impl Memory {
    /// From this core to itself: the others of a test arrive at their home.
    fn hand_over(&mut self, conn: ConnId, to: CoreIndex, adoption: Box<Adoption>) {
        let moved = ConnId { generation: conn.generation + 1, ..conn };
        let link = self.links.remove(&conn).expect("a connection");
        self.links.insert(moved, link);
        self.done.push_back(Event::Closed { conn });
        self.done.push_back(Event::Adopted { conn: moved, from: to, adoption });
    }

    fn write(&mut self, op: IoOp) {
        let done = match op {
            IoOp::Prepare { segment } => {
                self.segments.insert(segment, Vec::new());
                IoDone::Prepared { segment }
            }
            IoOp::Write { id, segment, offset, bytes } => {
                let content = self.segments.get_mut(&segment).expect("prepared");
                content.resize(content.len().max(offset as usize + bytes.len()), 0);
                content[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                IoDone::Written { id }
            }
            IoOp::Retire { .. } | IoOp::RetireOlder => return,
        };
        match self.disk_waits {
            true => self.held.push(Event::Written(done)),
            false => self.done.push_back(Event::Written(done)),
        }
    }
}

impl Link {
    fn receive(&mut self, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.partial);
        input.extend_from_slice(bytes);
        let (mut rest, mut frames) = (input.as_slice(), wire::Deframer::default());
        while !rest.is_empty() {
            frames
                .next(&mut rest, 1 << 20, |content| self.frames.push(content.to_vec()))
                .expect("frames");
        }
    }
}

/// A server.
pub struct World {
    limits: Limits,
    cores: Vec<Core>,
    drivers: Vec<Memory>,
    now: Now,
    connections: u32,
    logs: Vec<FoundLog>,
    generation: u64,
    store: Option<Rc<RefCell<Store>>>,
    /// New disks wait.
    disks_wait: bool,
}

impl World {
    /// A new one.
    pub fn new(cores: u16, limits: Limits) -> World {
        World::with(cores, limits, None)
    }

    /// A new one with a store.
    pub fn with_store(cores: u16, limits: Limits) -> World {
        World::with(cores, limits, Some(Rc::default()))
    }

    fn with(cores: u16, limits: Limits, store: Option<Rc<RefCell<Store>>>) -> World {
        let now = Now { mono_us: 1_000_000, unix_us: 1_700_000_000_000_000 };
        let mut world = World {
            limits,
            cores: Vec::new(),
            drivers: Vec::new(),
            now,
            connections: 0,
            logs: Vec::new(),
            generation: 0,
            store,
            disks_wait: false,
        };
        world.start(cores);
        world
    }

    fn start(&mut self, cores: u16) {
        let recovered = Recovered::read(self.logs.clone()).expect("readable");
        self.generation = recovered.generation();
        self.cores.clear();
        self.drivers.clear();
        for index in 0..cores {
            let config = CoreConfig {
                index,
                cores,
                level: AckLevel::Local,
                limits: self.limits.clone(),
                key: Key::new([1; 32]),
                seed: 1,
                epoch_base: 1,
            };
            self.cores.push(Core::new(config, recovered.deal(index, cores), self.now));
            let (store, disk_waits) = (self.store.clone(), self.disks_wait);
            self.drivers.push(Memory { store, disk_waits, ..Memory::default() });
        }
        self.run_ms(5);
    }

    /// kill -9, and a new start with what is on the disk.
    pub fn restart(&mut self) {
        for (index, driver) in self.drivers.iter_mut().enumerate() {
            let segments = std::mem::take(&mut driver.segments).into_iter();
            self.logs.push(FoundLog {
                generation: self.generation,
                core: index as u16,
                segments: segments.map(|(segment, bytes)| (segment, bytes.into())).collect(),
            });
        }
        self.start(self.drivers.len() as u16);
    }

    /// As `restart`, and no write of the new logs completes: see `hold_disks`.
    pub fn restart_with_held_disks(&mut self) {
        self.disks_wait = true;
        self.restart();
        self.disks_wait = false;
    }

    /// The core where a user lives.
    pub fn home(&self, user: u64) -> CoreIndex {
        persistence::slot_of(id(user)) % self.cores.len() as u16
    }

    /// Time passes.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now.mono_us += 1_000;
            self.now.unix_us += 1_000;
            for index in 0..self.cores.len() {
                self.drivers[index].now = self.now;
                turn(&mut self.cores[index], &mut self.drivers[index]);
                for (to, relay) in std::mem::take(&mut self.drivers[index].lanes_out) {
                    self.drivers[to as usize].lanes_in.push_back((index as CoreIndex, relay));
                }
            }
        }
    }

    /// Much time passes at once.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.mono_us += 1_000 * ms;
        self.now.unix_us += 1_000 * ms;
        self.run_ms(5);
    }

    /// A client that says HELLO, and what the server answers within some milliseconds.
    pub fn attach(&mut self, user: u64, device: u32, foreground: bool) -> Client {
        self.attach_as(user, device, foreground, "", "")
    }

    /// With name and platform.
    pub fn attach_as(
        &mut self,
        user: u64,
        device: u32,
        foreground: bool,
        name: &str,
        platform: &str,
    ) -> Client {
        self.greet(user, device, Hello { foreground, name, platform, ..hello(device) })
    }

    /// A device that was here before, and has the inbox up to `acked`.
    pub fn attach_again(&mut self, user: u64, device: u32, acked: u64) -> Client {
        let inbox_epoch = u64::from(acked != 0);
        self.greet(user, device, Hello { foreground: false, inbox_epoch, acked, ..hello(device) })
    }

    fn greet(&mut self, user: u64, device: u32, hello: Hello<'_>) -> Client {
        let core = self.home(user);
        let claims = Claims { user: id(user), device: DeviceId(device) };
        self.connections += 1;
        let conn = ConnId { index: self.connections, generation: 1 };
        let mut bytes = Vec::new();
        wire::encode_client(&mut bytes, &ClientFrame::Hello(hello));
        self.drivers[core as usize].links.insert(conn, Link::default());
        let adoption = Box::new(Adoption { claims, bytes });
        let event = Event::Adopted { conn, from: core, adoption };
        self.drivers[core as usize].done.push_back(event);
        self.run_ms(5);
        Client { core, conn }
    }

    /// A client that says where it is.
    pub fn attach_at(&mut self, user: u64, device: u32, inbox_epoch: u64, acked: u64) -> Client {
        let hello = Hello { inbox_epoch, acked, ..hello(device) };
        self.greet(user, device, hello)
    }

    /// The bytes of a HELLO of this device, with a token and this past.
    pub fn hello(&self, user: u64, device: u32, inbox_epoch: u64, acked: u64) -> Vec<u8> {
        let claims = Claims { user: id(user), device: DeviceId(device) };
        let token = shards::token::mint(&Key::new([1; 32]), claims, u64::MAX);
        let mut bytes = Vec::new();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            outbox: OutboxId(u64::from(device)),
            inbox_epoch,
            acked,
            foreground: false,
            token: token.as_bytes(),
            name: "",
            platform: "",
        };
        wire::encode_client(&mut bytes, &ClientFrame::Hello(hello));
        bytes
    }

    /// A connection to the first core, which must be the only one.
    pub fn accept(&mut self) -> Client {
        self.connections += 1;
        let conn = ConnId { index: self.connections, generation: 1 };
        self.drivers[0].links.insert(conn, Link::default());
        self.drivers[0].done.push_back(Event::Accepted { conn });
        Client { core: 0, conn }
    }

    /// The same client, whether or not it was handed over since.
    pub fn moved(&self, client: Client) -> Client {
        let mut conns = self.drivers[client.core as usize].links.keys();
        let conn = conns.rfind(|conn| conn.index == client.conn.index);
        Client { conn: *conn.expect("a client"), ..client }
    }

    /// Bytes from a client.
    pub fn put(&mut self, client: Client, bytes: &[u8]) {
        self.link(client).input.extend_from_slice(bytes);
    }

    /// The contents of the frames that a client received and nobody looked at.
    pub fn contents(&mut self, client: Client) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.link(client).frames)
    }

    /// Whether the server ended the connection.
    pub fn closed(&mut self, client: Client) -> bool {
        self.link(client).closed
    }

    /// Whether what is sent from now on stays on its way for ever.
    pub fn hold_sends(&mut self, hold: bool) {
        self.drivers.iter_mut().for_each(|driver| driver.sends_wait = hold);
    }

    /// A frame from a client.
    pub fn send(&mut self, client: Client, frame: ClientFrame<'_>) {
        let link = self.link(client);
        wire::encode_client(&mut link.input, &frame);
    }

    /// The client is gone without a word.
    pub fn cut(&mut self, client: Client) {
        let driver = &mut self.drivers[client.core as usize];
        driver.links.remove(&client.conn);
        driver.done.push_back(Event::Closed { conn: client.conn });
        self.run_ms(2);
    }

    /// What a client received and nobody looked at, each frame through `f`.
    pub fn take<T>(
        &mut self,
        client: Client,
        mut f: impl FnMut(ServerFrame<'_>) -> Option<T>,
    ) -> Vec<T> {
        let frames = std::mem::take(&mut self.link(client).frames);
        let decode = |content: &Vec<u8>| f(wire::decode_server(content).expect("a server's frame"));
        frames.iter().filter_map(decode).collect()
    }

    fn link(&mut self, client: Client) -> &mut Link {
        self.drivers[client.core as usize].links.get_mut(&client.conn).expect("a client")
    }

    /// Relays that left all cores since the last call.
    pub fn relays(&mut self) -> Vec<Relay> {
        self.drivers.iter_mut().flat_map(|driver| std::mem::take(&mut driver.relays)).collect()
    }

    /// Whether writes stay on their way from now on; what was held completes.
    pub fn hold_disks(&mut self, hold: bool) {
        for driver in &mut self.drivers {
            driver.disk_waits = hold;
            driver.done.extend(driver.held.drain(..));
        }
    }

    /// Whether the answers to reads stay on their way from now on; what was held arrives.
    pub fn hold_store(&mut self, hold: bool) {
        for driver in &mut self.drivers {
            driver.store_waits = hold;
            driver.done.extend(driver.answers.drain(..));
        }
    }

    /// The store, to look into it or to break it.
    pub fn store(&mut self) -> RefMut<'_, Store> {
        self.store.as_ref().expect("a world with one").borrow_mut()
    }

    /// A counter, over all cores.
    pub fn stat(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.cores.iter().map(|core| of(&core.stats())).sum()
    }
}

fn hello(device: u32) -> Hello<'static> {
    Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        outbox: OutboxId(u64::from(device)),
        inbox_epoch: 0,
        acked: 0,
        foreground: false,
        token: b"unread",
        name: "",
        platform: "",
    }
}

/// A user's number as a name.
pub fn id(user: u64) -> UserId {
    UserId::new(user).expect("not 0")
}
