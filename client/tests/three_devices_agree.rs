//! Three devices of one user over real sockets, one of them away for a while: what the others do
//! meanwhile is there when it comes back, and a killed server changes nothing of it.

mod terminal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::blocking::Connection;
use client::{
    Chat, Client, ClientEvent, Command, Config, Contact, Conv, Device, Kind, Seq, Tick, UserId,
};
use terminal::{Server, dir};

const PATIENCE: Duration = Duration::from_secs(60);

/// The user with three devices.
const OWNER: u64 = 1;
/// Who writes with it. Of two cores this is not the one where `OWNER` lives.
const PEER: u64 = 2;
/// Who is blocked for a while.
const STRANGER: u64 = 3;
/// The user's conversations with them, and theirs with the user.
const CHAT: Conv = Conv::Direct(PEER);
const OTHER: Conv = Conv::Direct(STRANGER);
const BACK: Conv = Conv::Direct(OWNER);

/// Places in `World::phones`: the devices of `OWNER` …
const ONE: usize = 0;
const TWO: usize = 1;
const THREE: usize = 2;
const DEVICES: [usize; 3] = [ONE, TWO, THREE];
/// … and the one of each other user.
const AT_PEER: usize = 3;
const AT_STRANGER: usize = 4;

/// A device, perhaps away.
struct Phone {
    who: (u64, u32),
    journal: PathBuf,
    connection: Option<Connection>,
    /// How often it told of each place, and the peers' places in the order that it told of them.
    told: BTreeMap<(Conv, Seq), u32>,
    peers: BTreeMap<Conv, Vec<Seq>>,
    caught_up: bool,
}

impl Phone {
    fn new(dir: &Path, user: u64, device: u32) -> Phone {
        let journal = dir.join(format!("phone-{user}-{device}"));
        let (told, peers) = (BTreeMap::new(), BTreeMap::new());
        let who = (user, device);
        Phone { who, journal, connection: None, told, peers, caught_up: false }
    }

    fn come(&mut self, server: &Server) {
        let token = server.token_of(self.who.0, self.who.1).into_bytes();
        let device = Device::open(&self.journal, Config::new(token));
        let device = device.expect("the journal is free and whole");
        (self.connection, self.caught_up) = (Some(Connection::new(device, &server.address)), false);
    }

    fn leave(&mut self) {
        let connection = self.connection.take().expect("it is there");
        connection.close().expect("the journal was written");
    }

    fn client(&mut self) -> &mut Client {
        self.connection.as_mut().expect("it is there").client_mut()
    }

    fn turn(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        connection.turn(Duration::from_millis(1)).expect("the journal was written");
        while let Some(event) = connection.event() {
            match event {
                ClientEvent::CaughtUp => self.caught_up = true,
                ClientEvent::Sent { id, conv_seq, .. } => {
                    *self.told.entry((id.conv, conv_seq)).or_default() += 1;
                }
                ClientEvent::Message { conv, conv_seq, kind, .. } => {
                    *self.told.entry((conv, conv_seq)).or_default() += 1;
                    if kind == Kind::Peer {
                        self.peers.entry(conv).or_default().push(conv_seq);
                    }
                }
                ClientEvent::CommandDone { refusal, .. } => assert_eq!(refusal, None),
                ClientEvent::Refused { .. }
                | ClientEvent::Moved { .. }
                | ClientEvent::GivenUp { .. }
                | ClientEvent::Broken { .. } => panic!("{:?}: {event:?}", self.who),
                _ => {}
            }
        }
    }
}

/// What a user sees on a device.
#[derive(Debug, PartialEq)]
struct View {
    chats: Vec<Chat>,
    texts: Vec<(Conv, Vec<Text>)>,
    contacts: Vec<(UserId, Contact)>,
}

/// A place: whose, the text, by which place it was edited, deleted.
type Text = (Seq, Kind, Option<String>, Seq, bool);

fn texts(client: &Client, conv: Conv) -> Vec<Text> {
    let text = |body: &Vec<u8>| String::from_utf8(body.clone()).expect("text");
    let history = client.history(conv);
    let history = history.map(|(seq, message)| {
        let body = message.body.as_ref().map(text);
        (seq, message.kind, body, message.edited_by, message.deleted)
    });
    history.collect()
}

fn view(client: &Client) -> View {
    let contacts = client.contacts().map(|(user, contact)| (user, contact.clone()));
    let texts = client.conversations().map(|conv| (conv, texts(client, conv)));
    View { texts: texts.collect(), chats: client.chats(), contacts: contacts.collect() }
}

struct World {
    server: Server,
    phones: Vec<Phone>,
    composed: u32,
}

impl World {
    fn start(dir: &Path) -> World {
        let server = Server::start_with(dir, 2);
        let owner = (1..=3).map(|device| (OWNER, device));
        let who = owner.chain([(PEER, 1), (STRANGER, 1)]);
        let phones = who.map(|(user, device)| Phone::new(dir, user, device)).collect();
        let mut world = World { server, phones, composed: 0 };
        (0..world.phones.len()).for_each(|at| world.phones[at].come(&world.server));
        world.until("all are there", |phones| phones.iter().all(|phone| phone.caught_up));
        world
    }

    /// Lets everybody go on until this holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut [Phone]) -> bool) {
        let started = Instant::now();
        while !holds(&mut self.phones) {
            assert!(started.elapsed() < PATIENCE, "never: {what}\n{}", self.describe());
            self.phones.iter_mut().for_each(Phone::turn);
        }
    }

    fn describe(&mut self) -> String {
        let there = self.phones.iter_mut().filter(|phone| phone.connection.is_some());
        let views = there.map(|phone| (phone.who, view(phone.client())));
        format!("{:#?}", views.collect::<Vec<_>>())
    }

    fn say(&mut self, at: usize, conv: Conv) {
        self.composed += 1;
        let text = format!("{} by {:?}", self.composed, self.phones[at].who);
        self.phones[at].client().compose(conv, text.as_bytes()).expect("a good message");
    }

    fn command(&mut self, at: usize, command: &Command<'_>) {
        self.phones[at].client().command(command).expect("a good command");
    }

    /// The newest message that this device sees from its own user, or from the peer.
    fn newest(&mut self, at: usize, conv: Conv, kind: Kind) -> Seq {
        let client = self.phones[at].client();
        let found = client.history(conv).rev().find(|(_, message)| message.kind == kind);
        found.expect("there is one").0
    }

    fn edit(&mut self, at: usize, conv: Conv, target: Seq, text: &str) {
        self.phones[at].client().edit(conv, target, text.as_bytes()).expect("an own message");
    }

    fn delete(&mut self, at: usize, conv: Conv, target: Seq) {
        self.phones[at].client().delete(conv, target).expect("an own message");
    }

    /// Waits until nobody has anything to say, and these devices and the peer know the same.
    fn agree(&mut self, what: &str, devices: &[usize]) {
        self.until(what, |phones| {
            let mut settled = phones.iter_mut().filter(|phone| phone.connection.is_some());
            let settled = settled.all(|phone| {
                let (caught_up, client) = (phone.caught_up, phone.client());
                caught_up
                    && client.is_attached()
                    && !client.has_pending()
                    && !client.has_unmarked_reads()
            });
            let peer = texts(phones[AT_PEER].client(), BACK);
            let first = view(phones[devices[0]].client());
            let chat = first.texts.iter().find(|(conv, _)| *conv == CHAT);
            settled
                && chat.is_some_and(|(_, texts)| *texts == from_the_other_side(&peer))
                && devices.iter().all(|&at| view(phones[at].client()) == first)
        });
    }

    /// Each place was told once, and the peers' in order; nothing is left out.
    fn check_told(&self) {
        for phone in &self.phones {
            let repeated: Vec<_> = phone.told.iter().filter(|&(_, &count)| count != 1).collect();
            assert!(repeated.is_empty(), "{:?}: {repeated:?}", phone.who);
            for (conv, places) in &phone.peers {
                let ordered = places.is_sorted_by(|a, b| a < b);
                assert!(ordered, "{:?} {conv:?}: {places:?}", phone.who);
            }
        }
        let peers = |at: usize| self.phones[at].peers[&CHAT].clone();
        assert_eq!((peers(TWO), peers(THREE)), (peers(ONE), peers(ONE)));
    }

    fn until_delivered(&mut self, devices: usize) {
        let newest = self.newest(AT_PEER, BACK, Kind::Own);
        self.until(&format!("delivered on {devices} of 3 devices"), |phones| {
            let chat = phones[AT_PEER].client().chat(BACK).expect("there is one");
            chat.peer_delivered.len() == 3 && chat.tick(newest) == Tick::Delivered { devices }
        });
    }
}

/// The same places as the peer sees them.
fn from_the_other_side(texts: &[Text]) -> Vec<Text> {
    let turned = |kind| match kind {
        Kind::Own => Kind::Peer,
        Kind::Peer => Kind::Own,
        Kind::OwnChange => Kind::PeerChange,
        Kind::PeerChange => Kind::OwnChange,
        other => other,
    };
    let turn = |text: &Text| Text::clone(&(text.0, turned(text.1), text.2.clone(), text.3, text.4));
    texts.iter().map(turn).collect()
}

/// What device 1, device 2 and the peers do while device 3 is away.
fn live_on(world: &mut World) {
    let peer = UserId::new(PEER).expect("not 0");
    let stranger = UserId::new(STRANGER).expect("not 0");
    let first = world.newest(ONE, CHAT, Kind::Own);
    world.edit(TWO, CHAT, first, "edited by the second");
    world.command(TWO, &Command::ContactAdd { peer, name: "Anna" });
    world.command(ONE, &Command::Block { peer: stranger });
    world.agree("blocked", &[ONE, TWO]);
    world.say(AT_STRANGER, BACK);
    world.until("SENT to the blocked one", |phones| !phones[AT_STRANGER].client().has_pending());
    world.command(TWO, &Command::Unblock { peer: stranger });
    world.command(TWO, &Command::ContactAdd { peer, name: "Anna B." });
    world.agree("unblocked", &[ONE, TWO]);
    world.say(AT_STRANGER, BACK);
    for _ in 0..35 {
        world.say(ONE, CHAT);
        world.say(AT_PEER, BACK);
        world.say(TWO, CHAT);
        world.say(AT_PEER, BACK);
    }
    world.agree("told to two", &[ONE, TWO]);
    let read = world.newest(TWO, CHAT, Kind::Peer) - 40;
    assert!(world.phones[TWO].client().mark_read(CHAT, read));
    let unwanted = world.newest(AT_PEER, BACK, Kind::Own);
    world.delete(AT_PEER, BACK, unwanted);
    let own = world.newest(TWO, CHAT, Kind::Own);
    world.delete(ONE, CHAT, own);
    world.say(AT_PEER, BACK);
    world.until("the stranger is heard", |phones| {
        phones[ONE].client().chat(OTHER).is_some_and(|chat| chat.head == 3)
    });
    world.agree("changed", &[ONE, TWO]);
}

/// Messages the user has not read, as the peer's device tells.
fn unread(world: &mut World) -> u64 {
    let read = world.phones[ONE].client().chat(CHAT).expect("there is one").read;
    let sent = world.phones[AT_PEER].client().history(BACK);
    sent.filter(|(seq, message)| *seq > read && message.kind == Kind::Own).count() as u64
}

#[test]
fn a_device_that_was_away_agrees_with_the_others() {
    let dir = dir("three-devices");
    let mut world = World::start(&dir);
    world.say(AT_STRANGER, BACK);
    world.say(ONE, CHAT);
    world.agree("own sends are everywhere", &DEVICES);
    world.say(AT_PEER, BACK);
    world.agree("the answer is everywhere", &DEVICES);
    world.until_delivered(3);

    world.phones[THREE].leave();
    live_on(&mut world);
    world.until_delivered(2);
    world.phones[THREE].come(&world.server);
    world.agree("the third knows what it missed", &DEVICES);
    world.until_delivered(3);
    let chat = world.phones[THREE].client().chat(CHAT).expect("there is one");
    assert_eq!((chat.unread, chat.unread > 0), (unread(&mut world), true));
    let contacts = view(world.phones[THREE].client()).contacts;
    let anna = Contact { contact: true, blocked: false, name: "Anna B.".to_owned() };
    assert_eq!(contacts, [(UserId::new(PEER).expect("not 0"), anna)]);
    world.check_told();

    let (composed, told) = (world.composed, world.phones[AT_PEER].told.len());
    for round in 0..40 {
        for at in DEVICES {
            world.say(at, CHAT);
            world.say(AT_PEER, BACK);
        }
        if round == 20 {
            world.until("some are SENT", |phones| phones[AT_PEER].told.len() > told + 60);
            world.server.kill();
        }
    }
    let read = world.newest(THREE, CHAT, Kind::Peer);
    assert!(world.phones[THREE].client().mark_read(CHAT, read));
    let first = world.newest(AT_PEER, BACK, Kind::Own);
    world.edit(AT_PEER, BACK, first, "edited while the server was down");
    world.server.restart();
    world.agree("all is there after the kill", &DEVICES);
    assert_eq!(world.composed - composed, 240);
    world.check_told();
    std::fs::remove_dir_all(dir).expect("own directory");
}
