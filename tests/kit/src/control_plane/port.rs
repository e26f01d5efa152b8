//! Free ports.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use super::error::{Error, Result};

/// Below what Linux and macOS give to outgoing connections. A port from that range may be taken by any connection while
/// a server restarts, and then the server cannot have it back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of 127.0.0.1 that was free a moment ago, chosen at random: control planes start side by side, and each should
/// try another one first.
pub fn free() -> Result<u16> {
    (0..100)
        .map(|_| {
            let random = RandomState::new().hash_one(()) % u64::from(COUNT);
            FIRST + u16::try_from(random).unwrap_or_default()
        })
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or(Error::NoPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free().unwrap();
        assert!((FIRST..FIRST + COUNT).contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
