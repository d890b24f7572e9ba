//! Many connections of one thread over one ring, without a protocol: bytes out, bytes in.

use crate::process;
use ring::{Completion, Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const RECV: u8 = 0;
const SEND: u8 = 1;

struct Socket {
    target: Target,
    out: Vec<u8>,
    sending: bool,
    dirty: bool,
}

/// The connections, numbered in the order in which they were made.
pub struct Sockets {
    ring: Ring,
    sockets: Vec<Socket>,
    /// Those with output that is not on its way.
    dirty: Vec<u32>,
}

impl Sockets {
    /// Room for so many.
    pub fn new(sockets_max: u32) -> io::Result<Sockets> {
        process::raise_open_files()?;
        let ring = Ring::new(&RingConfig {
            entries: 4096,
            completions: 65_536,
            files: sockets_max,
            buffers: Some((4096, 4096)),
            mode: RingMode::Deferred,
        })?;
        Ok(Sockets { ring, sockets: Vec::new(), dirty: Vec::new() })
    }

    /// Makes the next one.
    pub fn connect(&mut self, server: SocketAddr) -> io::Result<u32> {
        let socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        let target = Target::Direct(self.ring.install(socket.into())?);
        let index = self.sockets.len() as u32;
        self.sockets.push(Socket { target, out: Vec::new(), sending: false, dirty: false });
        self.ring.recv_multi(Token::new(RECV, index, 0), target);
        Ok(index)
    }

    /// Where output of this one is appended; it leaves with the next turn.
    pub fn out(&mut self, index: u32) -> &mut Vec<u8> {
        let socket = &mut self.sockets[index as usize];
        if !socket.dirty {
            socket.dirty = true;
            self.dirty.push(index);
        }
        &mut socket.out
    }

    /// Sends what is due, waits this long for something to come, and gives it to `received`.
    pub fn turn(
        &mut self,
        patience: Duration,
        mut received: impl FnMut(u32, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        self.flush();
        let busy = self.ring.work_is_deferred() || self.ring.ready() > 0;
        self.ring.enter(if busy { Wait::Few } else { Wait::Until(Some(patience)) });
        while let Some(Completion { token, result, more, given, .. }) = self.ring.reap() {
            let index = token.index;
            match (token.kind, result, given) {
                (SEND, result, Given::Buffer(buffer)) => self.sent(index, result, buffer)?,
                (RECV, Ok(_), Given::Received(buffer)) => {
                    let done = received(index, self.ring.bytes(&buffer));
                    self.ring.give_back(buffer);
                    done.map_err(|what| format!("connection {index}: {what}"))?;
                }
                // The pool was empty for a moment: it is not any more.
                (RECV, Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                (_, result, _) => return Err(format!("connection {index} ended: {result:?}")),
            }
            if token.kind == RECV && !more {
                let target = self.sockets[index as usize].target;
                self.ring.recv_multi(Token::new(RECV, index, 0), target);
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            let socket = &mut self.sockets[index as usize];
            socket.dirty = false;
            if !socket.sending && !socket.out.is_empty() {
                socket.sending = true;
                let out = std::mem::take(&mut socket.out);
                self.ring.send(Token::new(SEND, index, 0), socket.target, out, 0);
            }
        }
    }

    fn sent(
        &mut self,
        index: u32,
        result: io::Result<u32>,
        mut buffer: Vec<u8>,
    ) -> Result<(), String> {
        let whole = buffer.len();
        if result.as_ref().ok().map(|&bytes| bytes as usize) != Some(whole) {
            return Err(format!("connection {index}: a send of {whole} bytes: {result:?}"));
        }
        buffer.clear();
        self.sockets[index as usize].sending = false;
        let out = self.out(index);
        if out.is_empty() {
            *out = buffer;
        }
        Ok(())
    }
}
