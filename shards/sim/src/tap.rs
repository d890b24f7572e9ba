//! Reads along on a link, on the device's side, with nothing but the wire format.

use crate::{
    fact::{DeviceIndex, Entry, Fact, Placed},
    network::LinkId,
};
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::{
    Answer, BodyHash, ClientFrame, Conv, Deframer, HistoryItem, HistoryKind, OutboxId, Own,
    SendKey, Sent, Seq, ServerFrame, UserId, content_hash,
};

/// Longer than any frame of a run.
const FRAME_BYTES_MAX: usize = 128 * 1024;

/// One link, both directions.
#[derive(Debug)]
pub struct Tap {
    link: LinkId,
    device: DeviceIndex,
    user: UserId,
    outbox: OutboxId,
    up: Deframer,
    down: Deframer,
    inbox_at: Seq,
    asked: BTreeMap<(u64, OutboxId, Seq, bool), BodyHash>,
    pages: BTreeMap<u64, ConvKey>,
}

impl Tap {
    /// On a new link.
    pub fn new(link: LinkId, device: DeviceIndex, user: UserId) -> Tap {
        let (up, down) = (Deframer::default(), Deframer::default());
        let outbox = OutboxId(0);
        let (asked, pages) = (BTreeMap::new(), BTreeMap::new());
        Tap { link, device, user, outbox, up, down, inbox_at: 0, asked, pages }
    }

    /// The device wrote these bytes.
    pub fn wrote(&mut self, mut bytes: &[u8], facts: &mut Vec<Fact>) {
        loop {
            let mut deframer = std::mem::take(&mut self.up);
            let frame = deframer.next(&mut bytes, FRAME_BYTES_MAX, <[u8]>::to_vec);
            self.up = deframer;
            match frame.expect("a client core writes frames") {
                Some(content) => {
                    let frame = wire::decode_client(&content).expect("a client's frame is whole");
                    self.client_frame(frame, facts);
                }
                None => return,
            }
        }
    }

    fn client_frame(&mut self, frame: ClientFrame<'_>, facts: &mut Vec<Fact>) {
        let Tap { link, device, user, .. } = *self;
        match frame {
            ClientFrame::Hello(hello) => {
                self.outbox = hello.outbox;
                let (inbox_epoch, acked) = (hello.inbox_epoch, hello.acked);
                facts.push(Fact::Greeted { link, device, user, inbox_epoch, acked });
            }
            ClientFrame::Send(send) => {
                self.ask(send.key, false, content_hash(send.body, send.change));
            }
            ClientFrame::Void(void) => self.ask(void.key, true, void.hash),
            ClientFrame::Ack(ack) => {
                facts.push(Fact::Acked { link, device, user, acked: ack.inbox_seq });
            }
            ClientFrame::Ping(ping) if ping.acked > 0 => {
                facts.push(Fact::Acked { link, device, user, acked: ping.acked });
            }
            ClientFrame::History(ask) => {
                let conv = self.conv(ask.conv).expect("a client reads a conversation");
                self.pages.insert(ask.request, conv);
                facts.push(Fact::Asked { link, ask });
            }
            ClientFrame::Read(read) => {
                let conv = self.conv(read.conv).expect("a client reads a conversation");
                facts.push(Fact::Read { user, conv, upto: read.conv_seq });
            }
            ClientFrame::Command(command) => {
                facts.push(Fact::Ordered { user, command: command.command.to_vec() });
            }
            // Nothing that a checker counts.
            _ => {}
        }
    }

    fn ask(&mut self, key: SendKey, void: bool, hash: BodyHash) {
        let name = self.name(key, void);
        self.asked.insert(name, hash);
    }

    fn name(&self, key: SendKey, void: bool) -> (u64, OutboxId, Seq, bool) {
        let Conv::Direct(peer) = key.conv;
        (peer, key.outbox.unwrap_or(self.outbox), key.n, void)
    }

    /// The device read these bytes. An error is a server's frame that is none.
    pub fn read(&mut self, mut bytes: &[u8], facts: &mut Vec<Fact>) -> Result<(), String> {
        loop {
            let mut deframer = std::mem::take(&mut self.down);
            let frame = deframer.next(&mut bytes, FRAME_BYTES_MAX, <[u8]>::to_vec);
            self.down = deframer;
            match frame.map_err(|error| error.to_string())? {
                Some(content) => {
                    let frame = wire::decode_server(&content).map_err(|error| error.to_string())?;
                    self.server_frame(frame, facts)?;
                }
                None => return Ok(()),
            }
        }
    }

    fn server_frame(
        &mut self,
        frame: ServerFrame<'_>,
        facts: &mut Vec<Fact>,
    ) -> Result<(), String> {
        let link = self.link;
        match frame {
            ServerFrame::Welcome(welcome) => {
                self.inbox_at = welcome.from;
                facts.push(Fact::Welcomed { link, device: self.device, welcome });
            }
            ServerFrame::Sent(sent) => self.sent(&sent, facts)?,
            ServerFrame::Deliver(deliver) => {
                let conv = self.conv(deliver.conv)?;
                let placed = Placed {
                    conv,
                    conv_seq: deliver.conv_seq,
                    time_ms: deliver.time_ms,
                    sender: conv.peer_of(self.user),
                    hash: told(deliver.body),
                    void: false,
                    origin: None,
                };
                self.entry(deliver.d_inbox, placed, deliver.body.len(), facts);
            }
            ServerFrame::Own(own) => {
                let placed = self.own(&own)?;
                self.entry(own.d_inbox, placed, 0, facts);
            }
            ServerFrame::Changed(changed) => {
                let conv = self.conv(changed.conv)?;
                let placed = Placed {
                    conv,
                    conv_seq: changed.conv_seq,
                    time_ms: changed.time_ms,
                    sender: conv.peer_of(self.user),
                    // The text may be a later edit's by now.
                    hash: BodyHash(0),
                    void: false,
                    origin: None,
                };
                self.entry(changed.d_inbox, placed, changed.body.len(), facts);
            }
            ServerFrame::HistoryItem(item) => self.item(&item, facts)?,
            ServerFrame::End(end) => {
                if self.pages.remove(&end.request).is_some() {
                    facts.push(Fact::Ended { link, end });
                }
            }
            ServerFrame::Receipt(receipt) => {
                let (user, conv, read) = (self.user, self.conv(receipt.conv)?, receipt.read);
                let delivered = receipt.delivered.iter().collect();
                let inbox_seq = self.mark(receipt.d_inbox, facts);
                facts.push(Fact::Receipt { user, inbox_seq, conv, read, delivered });
            }
            ServerFrame::ReadMark(mark) => {
                let (user, conv, upto) = (self.user, self.conv(mark.conv)?, mark.conv_seq);
                let inbox_seq = self.mark(mark.d_inbox, facts);
                facts.push(Fact::ReadMark { user, inbox_seq, conv, upto });
            }
            ServerFrame::Commanded(taken) => {
                let (command, applied) = (taken.command.to_vec(), taken.code.is_none());
                let (user, inbox_seq) = (self.user, self.mark(taken.d_inbox, facts));
                facts.push(Fact::Commanded { user, inbox_seq, command, applied });
            }
            ServerFrame::CaughtUp(caught_up) => {
                facts.push(Fact::CaughtUp { link, head: caught_up.head })
            }
            ServerFrame::OutOfOrder(_)
            | ServerFrame::Refused(_)
            | ServerFrame::Pong(_)
            | ServerFrame::GoAway(_)
            | ServerFrame::Close(_)
            | ServerFrame::CommandAnswer(_)
            // What these say is judged by what the device shows.
            | ServerFrame::ChatHead(_)
            | ServerFrame::Contact(_)
            | ServerFrame::Device(_)
            | ServerFrame::RequestRefused(_)
            | ServerFrame::Presence(_)
            | ServerFrame::Typing(_) => {}
        }
        Ok(())
    }

    fn sent(&mut self, sent: &Sent, facts: &mut Vec<Fact>) -> Result<(), String> {
        let name = self.name(sent.key, sent.void);
        let Some(&hash) = self.asked.get(&name) else {
            return Err(format!("an answer to a send that was not made here: {sent:?}"));
        };
        let Answer::Fresh { conv_seq, time_ms, d_inbox, .. } = sent.answer else { return Ok(()) };
        let placed = Placed {
            conv: self.conv(sent.key.conv)?,
            conv_seq,
            time_ms,
            sender: self.user,
            hash,
            void: sent.void,
            origin: Some((name.1, sent.key.n)),
        };
        facts.push(Fact::Promised { placed });
        if d_inbox != 0 {
            self.entry(d_inbox, placed, 0, facts);
        }
        Ok(())
    }

    fn item(&self, item: &HistoryItem<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
        let &HistoryItem { request, conv_seq, time_ms, own, ref kind } = item;
        let conv = *self.pages.get(&request).ok_or_else(|| format!("not asked for: {item:?}"))?;
        let (link, user) = (self.link, self.user);
        let hash = match *kind {
            HistoryKind::Message { body, edited_by: None } => told(body),
            _ => BodyHash(0),
        };
        let placed = Placed {
            conv,
            conv_seq,
            time_ms,
            sender: if own.is_some() { user } else { conv.peer_of(user) },
            hash: own.map_or(hash, |own| own.hash),
            void: *kind == HistoryKind::Void,
            origin: own.map(|own| (own.outbox, own.n)),
        };
        let hidden = matches!(kind, HistoryKind::Hidden | HistoryKind::Gap) && own.is_none();
        let placed = (!hidden).then_some(placed);
        if *kind == HistoryKind::Gap {
            return Err(format!("nothing was lost, and {item:?}"));
        }
        facts.push(Fact::Item { link, request, conv_seq, placed });
        Ok(())
    }

    fn own(&self, own: &Own) -> Result<Placed, String> {
        Ok(Placed {
            conv: self.conv(own.conv)?,
            conv_seq: own.conv_seq,
            time_ms: own.time_ms,
            sender: self.user,
            hash: own.hash,
            void: own.void,
            origin: Some((own.outbox, own.n)),
        })
    }

    /// An entry that names no place; returns its number.
    fn mark(&mut self, d_inbox: u64, facts: &mut Vec<Fact>) -> Seq {
        self.inbox_at += d_inbox;
        facts.push(Fact::Marked { link: self.link, inbox_seq: self.inbox_at });
        self.inbox_at
    }

    fn entry(&mut self, d_inbox: u64, placed: Placed, body_bytes: usize, facts: &mut Vec<Fact>) {
        self.inbox_at += d_inbox;
        let entry = Entry { user: self.user, inbox_seq: self.inbox_at, placed, body_bytes };
        facts.push(Fact::Received { link: self.link, entry });
    }

    fn conv(&self, conv: Conv) -> Result<ConvKey, String> {
        let Conv::Direct(peer) = conv;
        let peer = UserId::new(peer).ok_or("a conversation with nobody")?;
        ConvKey::new(self.user, peer).ok_or_else(|| "a conversation with oneself".into())
    }
}

/// The content hash of a message, unless a later change left nothing of its text.
fn told(body: &[u8]) -> BodyHash {
    if body.is_empty() { BodyHash(0) } else { content_hash(body, None) }
}
