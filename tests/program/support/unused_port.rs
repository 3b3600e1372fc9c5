//! A port that refuses connections and stays reserved until it is dropped.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

use super::eventually;

pub struct UnusedPort {
    address: SocketAddr,
    _bound_but_not_listening: OwnedFd,
}

impl UnusedPort {
    pub fn new() -> UnusedPort {
        UnusedPort::at("127.0.0.1:0".parse().unwrap())
    }

    /// Takes over the port of a listener that was just closed. A process that another test is starting may hold a copy of
    /// the listener until it executes the program, so this tries repeatedly.
    pub fn at(address: SocketAddr) -> UnusedPort {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        eventually("the port can be taken over", || bind(&socket, &address).is_ok());
        let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        UnusedPort { address, _bound_but_not_listening: socket }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
