//! Histories of two users and their conversation: records as cores would write them, with
//! everything that a store keeps in them.

#![allow(dead_code, reason = "each test uses its own part")]

use persistence::{Backend, Batch, Loaded, Paged, Scanned};
use persistence::{
    CommandRecord, ConvKey, InboxKind, InboxRecord, Load, MemoryStore, MessageRecord, Page, Record,
    Scan,
};
use wire::{
    BodyHash, Change, Command, Conv, ConvSettings, DeviceId, OutboxId, Privacy, Seq, UserId,
    Visibility, content_hash,
};

const OUTBOXES: [OutboxId; 2] = [OutboxId(77), OutboxId(u64::MAX - 9)];

pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

pub fn conv() -> ConvKey {
    ConvKey::new(user(7), user(9)).expect("two users")
}

/// Pseudo-random numbers (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

fn leaked(bytes: Vec<u8>) -> &'static [u8] {
    bytes.leak()
}

/// A history that grows.
pub struct History {
    random: Random,
    pub records: Vec<Record<'static>>,
    head: Seq,
    /// Inbox heads, lower user first; so are all pairs.
    heads: [Seq; 2],
    sends: [Seq; 2],
    commands: [Seq; 2],
    /// Plain messages: place and sender.
    plain: Vec<(Seq, usize)>,
}

/// What one message does.
struct Sent {
    sender: usize,
    void: Option<BodyHash>,
    change: Option<Change>,
    hidden: bool,
    body: &'static [u8],
}

impl History {
    pub fn new(seed: u64, records: usize) -> History {
        let mut history = History {
            random: Random(seed | 1),
            records: Vec::new(),
            head: 0,
            heads: [0; 2],
            sends: [0; 2],
            commands: [0; 2],
            plain: Vec::new(),
        };
        while history.records.len() < records {
            match history.random.below(16) {
                0..8 => history.message(),
                8..11 => history.mark(),
                11..14 => history.command(),
                _ => history.of_user(),
            }
        }
        history
    }

    fn next_inbox(&mut self, side: usize) -> Seq {
        self.heads[side] += 1;
        self.heads[side]
    }

    fn message(&mut self) {
        let sender = self.random.below(2) as usize;
        self.head += 1;
        let own: Vec<Seq> =
            self.plain.iter().filter(|plain| plain.1 == sender).map(|plain| plain.0).collect();
        let mut change = None;
        if !own.is_empty() && self.random.one_in(3) {
            let target = own[self.random.below(own.len() as u64) as usize];
            change = Some(Change { target, delete: self.random.one_in(3) });
        }
        let void = (change.is_none() && self.random.one_in(8)).then_some(BodyHash(self.head));
        if change.is_none() && void.is_none() {
            self.plain.push((self.head, sender));
        }
        let empty = void.is_some() || change.is_some_and(|change| change.delete);
        let length = if self.random.one_in(4) { 1_500 } else { 0 };
        let text = format!("text {} of {sender} {:length$}", self.head, "").into_bytes();
        let body = leaked(if empty { Vec::new() } else { text });
        let hidden = self.random.one_in(6);
        self.sent(Sent { sender, void, change, hidden, body });
    }

    /// One record, or two where the guest lives on another core.
    fn sent(&mut self, sent: Sent) {
        let Sent { sender, void, change, hidden, body } = sent;
        let (conv, conv_seq, time_us) = (conv(), self.head, 1_000 + self.head);
        let users = conv.participants();
        let owner = usize::from(users[1] == conv.owner());
        let together = self.random.one_in(2);
        self.sends[sender] += 1;
        let mut record = MessageRecord {
            conv,
            conv_seq,
            time_us,
            sender: users[sender],
            outbox: OUTBOXES[sender],
            new_outbox_of: (self.sends[sender] == 1).then_some(DeviceId(sender as u32)),
            n: self.sends[sender],
            void,
            inbox: [0; 2],
            marks: [0, 1].map(|side| side != owner && together),
            hidden: [0, 1].map(|side| hidden && side != sender && (side == owner || together)),
            change,
            body,
        };
        let has_entry = |side: usize| side == sender || (void.is_none() && !hidden);
        let mut apart = None;
        for (side, user) in users.into_iter().enumerate() {
            let inbox_seq = if has_entry(side) { self.next_inbox(side) } else { 0 };
            if side == owner || together {
                record.inbox[side] = inbox_seq;
                continue;
            }
            let kind = match (side == sender, void, change) {
                (true, ..) => InboxKind::Own {
                    outbox: OUTBOXES[sender],
                    n: self.sends[sender],
                    void: void.is_some(),
                    change,
                    hash: void.unwrap_or_else(|| content_hash(body, change)),
                },
                (false, Some(_), _) => InboxKind::Nothing,
                (false, None, _) if hidden => InboxKind::Hidden,
                (false, None, Some(change)) => InboxKind::PeerChange { change, body },
                (false, None, None) => InboxKind::Peer { body },
            };
            apart = Some(InboxRecord { user, inbox_seq, conv, conv_seq, time_us, kind });
        }
        self.records.push(Record::Message(record));
        self.records.extend(apart.map(Record::Inbox));
    }

    fn mark(&mut self) {
        let side = self.random.below(2) as usize;
        let (user, conv) = (conv().participants()[side], conv());
        let upto = self.random.below(self.head + 1);
        let device = DeviceId(self.random.below(3) as u32);
        let record = match self.random.below(3) {
            0 => Record::Read { user, conv, upto, inbox_seq: self.next_inbox(side) },
            1 => Record::Delivered { user, conv, device, upto },
            _ => {
                let count = self.random.below(3);
                let mut marks: Vec<Seq> =
                    (0..count).map(|_| self.random.below(self.head + 1)).collect();
                marks.sort_unstable_by(|a, b| b.cmp(a));
                let inbox_seq = self.next_inbox(side);
                Record::Receipt { user, conv, read: upto, delivered: marks, inbox_seq }
            }
        };
        self.records.push(record);
    }

    fn command(&mut self) {
        let side = self.random.below(2) as usize;
        let user = conv().participants()[side];
        let of_conv = Conv::Direct(conv().peer_of(user).get());
        let peer = [conv().peer_of(user), self::user(1), self::user(u64::MAX)];
        let peer = peer[self.random.below(3) as usize];
        let name = format!("name {}", self.random.below(9));
        let first = 1 + self.random.below(self.head.max(1));
        let command = match self.random.below(9) {
            0 => Command::Settings {
                conv: of_conv,
                settings: ConvSettings {
                    muted_until_ms: self.random.below(9),
                    pinned: self.random.one_in(2),
                    archived: self.random.one_in(2),
                },
            },
            1 => Command::DeleteForMe { conv: of_conv, first, last: first + self.random.below(3) },
            2 | 3 => Command::ContactAdd { peer, name: &name },
            4 => Command::ContactRemove { peer },
            5 => Command::Block { peer },
            6 => Command::Unblock { peer },
            7 => Command::Privacy(Privacy {
                visibility: Visibility::from_number(self.random.below(3) as u8).expect("known"),
                refuse_strangers: self.random.one_in(2),
            }),
            _ => Command::Revoke { device: DeviceId(self.random.below(3) as u32) },
        };
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.commands[side] += 1;
        let inbox_seq = self.next_inbox(side);
        self.records.push(Record::Command(CommandRecord {
            user,
            outbox: OUTBOXES[side],
            new_outbox_of: (self.commands[side] == 1).then_some(DeviceId(side as u32)),
            n: self.commands[side],
            code: if self.random.one_in(5) { 12 } else { 0 },
            time_us: 5_000 + inbox_seq,
            inbox_seq,
            command: leaked(bytes),
        }));
    }

    fn of_user(&mut self) {
        let side = self.random.below(2) as usize;
        let user = conv().participants()[side];
        let device = DeviceId(self.random.below(4) as u32);
        let acked = self.random.below(self.heads[side] + 1);
        let number = self.random.below(100);
        let record = match self.random.below(5) {
            0 => Record::Cursor { user, device, acked },
            1 => Record::Epoch { user, epoch: number },
            2 => Record::LastSeen { user, time_us: number },
            3 => Record::Trim { user, upto: acked / 2 },
            _ => Record::Device {
                user,
                device,
                revoked: false,
                attached_us: number,
                name: String::leak(format!("device {number}")),
                platform: "linux",
                acked,
            },
        };
        self.records.push(record);
    }
}

/// A store that can be asked.
pub trait Reads {
    fn load(&self, load: &Load) -> Loaded;
    fn scan(&self, scan: &Scan) -> Scanned;
    fn page(&self, page: &Page) -> Paged;
}

/// A backend that answers.
pub struct Readable<B>(pub B);

impl<B: Backend> Reads for Readable<B> {
    fn load(&self, load: &Load) -> Loaded {
        self.0.load(load).expect("readable")
    }
    fn scan(&self, scan: &Scan) -> Scanned {
        self.0.scan(scan).expect("readable")
    }
    fn page(&self, page: &Page) -> Paged {
        self.0.page(page).expect("readable")
    }
}

impl Reads for MemoryStore {
    fn load(&self, load: &Load) -> Loaded {
        self.load(load)
    }
    fn scan(&self, scan: &Scan) -> Scanned {
        self.scan(scan, scan.entries_max)
    }
    fn page(&self, page: &Page) -> Paged {
        self.page(page)
    }
}

/// Everything that a store says about the two users.
pub fn dump(store: &impl Reads) -> Vec<String> {
    let conv = conv();
    let mut said = vec![format!("{:?}", store.load(&Load::Conversation(conv)))];
    let page = |page| format!("{:?}", store.page(&page));
    for user in conv.participants() {
        said.push(format!("{:?}", store.load(&Load::User(user))));
        said.push(format!("{:?}", store.load(&Load::Member(user, conv))));
        for (after, upto, entries_max, bytes_max) in
            [(0, u64::MAX, u32::MAX, u32::MAX), (3, 20, 5, 9), (40, 50, 9, 30)]
        {
            let scan = Scan { user, after, upto, entries_max, bytes_max };
            said.push(format!("{:?}", store.scan(&scan)));
        }
        for before in [u64::MAX, 30] {
            said.push(page(Page::Chats { user, before, limit: 9 }));
        }
        for (after, limit) in [(0, 9), (0, 1), (1, 1), (7, 2), (u64::MAX, 9)] {
            said.push(page(Page::Contacts { user, after, limit }));
        }
    }
    for (from, newer) in [(0, true), (u64::MAX, false), (9, true), (9, false)] {
        for (limit, bytes_max) in [(u32::MAX, u32::MAX), (4, u32::MAX), (9, 20)] {
            said.push(page(Page::Messages { conv, from, newer, limit, bytes_max }));
        }
    }
    said
}

/// The records in batches of 1 to 12; a record may be split between the two homes' batches.
pub fn batches(records: &[Record<'static>], random: &mut Random) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut left = records;
    while !left.is_empty() {
        let (some, others) = left.split_at(left.len().min(1 + random.below(12) as usize));
        left = others;
        let [low, _] = conv().participants();
        let homes: [&dyn Fn(UserId) -> bool; 2] = [&|user| user == low, &|user| user != low];
        let split = random.one_in(2);
        let parts = if split { &homes[..] } else { &[&(|_| true) as &dyn Fn(UserId) -> bool] };
        for mine in parts {
            let mut batch = Batch::default();
            some.iter().for_each(|record| batch.add(record, mine));
            batches.push(batch);
        }
    }
    batches
}
