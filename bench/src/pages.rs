//! A reader of the past beside a crowd: again and again a device that knows nothing attaches and
//! reads the newest page of a conversation, and each place of it must be what stands there.

use crate::body::Stamp;
use crate::device::Device;
use crate::random::Random;
use client::{ClientEvent, Config, Conv, Seq};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Places of a page.
const PLACES: u64 = 50;
/// A page that is not there by then is given up: the server is away.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_micros(500);

/// What was read.
#[derive(Debug, Default)]
pub struct Pages {
    /// Whole pages.
    pub read: u64,
    /// (number in the body, place) of each message on them.
    pub places: Vec<(u64, Seq)>,
    /// What must not be.
    pub faults: Vec<String>,
}

/// Reads pages until `done`. `tokens`: of a further device of each of the users from `first_user`.
pub fn read(
    server: SocketAddr,
    (first_user, tokens): (u64, &[Vec<u8>]),
    seed: u64,
    done: impl Fn() -> bool,
) -> Pages {
    let (mut pages, mut random) = (Pages::default(), Random::new(seed));
    let mut buffer = Vec::new();
    while !done() {
        let user = random.below(tokens.len() as u64);
        let peer = (user + 1 + random.below(tokens.len() as u64 - 1)) % tokens.len() as u64;
        let token = tokens[user as usize].clone();
        let quick = Config { reconnect_base_ms: 4, reconnect_cap_ms: 32, ..Config::new(token) };
        let mut device = Device::new(quick, random.number());
        let conv = Conv::Direct(first_user + peer);
        device.load_history(conv, PLACES);
        let end = Instant::now() + PATIENCE;
        while !done() && Instant::now() < end {
            if !device.turn(server, &mut buffer) {
                thread::sleep(PAUSE);
            }
            let mut whole = None;
            while let Some(event) = device.event() {
                match event {
                    ClientEvent::HistoryPage { first, last, .. } => whole = Some((first, last)),
                    ClientEvent::Broken { fault } => pages.faults.push(fault.to_string()),
                    _ => {}
                }
            }
            if let Some((first, last)) = whole {
                pages.check(&device, conv, (user as u32, peer as u32), first..=last);
                break;
            }
        }
    }
    pages
}

impl Pages {
    fn check(
        &mut self,
        device: &Device,
        conv: Conv,
        (user, peer): (u32, u32),
        places: std::ops::RangeInclusive<Seq>,
    ) {
        let client = device.client();
        let mut wanted = places.clone();
        for (place, message) in client.history(conv).filter(|(place, _)| places.contains(place)) {
            let stamp = message.body.as_deref().and_then(Stamp::read);
            let own = |stamp: &Stamp| (stamp.sender, stamp.receiver) == (user, peer);
            let others = |stamp: &Stamp| (stamp.sender, stamp.receiver) == (peer, user);
            match stamp.filter(|stamp| own(stamp) || others(stamp)) {
                Some(stamp) => self.places.push((stamp.number, place)),
                None => self.faults.push(format!("{user} and {peer}, place {place}: {message:?}")),
            }
            if wanted.next() != Some(place) {
                return self.faults.push(format!("{user} and {peer}: a hole below {place}"));
            }
        }
        match wanted.next() {
            None => self.read += 1,
            Some(place) => self.faults.push(format!("{user} and {peer}: no place {place}")),
        }
    }
}
