//! The listener of a core.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// A core's own listener: the kernel spreads new connections over all of them.
///
/// Accepted sockets inherit TCP_NODELAY; without it a delivery waits for the ack of the last one.
pub fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bind(address, true)?;
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Learns whether the address is taken: `listen` alone would join another process of the same user.
/// Port 0 gives a free port. To be asked once, before the first `listen`.
pub fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = bind(address, false)?;
    socket.listen(1)?;
    TcpListener::from(socket).local_addr()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_noticed_though_listeners_share_it() {
        let address = probe("127.0.0.1:0".parse().unwrap()).unwrap();
        let _first = listen(address).unwrap();
        let _second = listen(address).unwrap();
        assert_eq!(probe(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
