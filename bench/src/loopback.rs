//! What a message costs this machine's loopback: by it the known floors are scaled to the machine.

use crate::steady::SERVER_PROCESSOR;
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

const BYTES: usize = 64;
const ROUND_TRIPS: u32 = 100_000;

/// Processor time of one message of 64 bytes, sent and received by one thread on the server's
/// processor, in nanoseconds; takes about a second and a half.
pub fn message_ns() -> io::Result<f64> {
    // On a thread of its own, because pinning stays.
    let thread = thread::spawn(|| {
        ring::sys::pin_to_cpu(SERVER_PROCESSOR)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut one = TcpStream::connect(listener.local_addr()?)?;
        let mut other = listener.accept()?.0;
        one.set_nodelay(true)?;
        other.set_nodelay(true)?;
        let mut bytes = [0; BYTES];
        let before_ns = cpu_ns();
        for _ in 0..ROUND_TRIPS {
            one.write_all(&bytes)?;
            other.read_exact(&mut bytes)?;
            other.write_all(&bytes)?;
            one.read_exact(&mut bytes)?;
        }
        Ok((cpu_ns() - before_ns) / f64::from(2 * ROUND_TRIPS))
    });
    thread.join().expect("does not panic")
}

fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
