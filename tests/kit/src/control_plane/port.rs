//! Free ports.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::error::{Error, Result};

/// Below what Linux and macOS give to outgoing connections. A port from that range may be taken by any connection while
/// a server restarts, and then the server cannot have it back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Counts on from a random number: another process should try other ports first.
static NEXT: LazyLock<AtomicU64> =
    LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) >> 1));

/// A port of 127.0.0.1 that was free a moment ago, and that nobody else in this process has been given: servers start side
/// by side, and each takes a while until it listens.
pub fn free() -> Result<u16> {
    (0..COUNT)
        .map(|_| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(COUNT);
            FIRST + u16::try_from(number).unwrap_or_default()
        })
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or(Error::NoPort)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free().unwrap();
        assert!((FIRST..FIRST + COUNT).contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn a_port_is_not_given_again_before_anybody_listens_on_it() {
        let ports: BTreeSet<_> = (0..1000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 1000);
    }
}
