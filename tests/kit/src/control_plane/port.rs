//! Free ports.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::Mutex,
};

use super::error::{Error, Result};

/// Below what Linux and macOS give to outgoing connections. A port from that range may be taken by any connection while
/// a server restarts, and then the server cannot have it back.
const FIRST: u16 = 20_000;

/// How many blocks of ports there are, and how many ports each has.
const BLOCKS: u16 = 120;
const BLOCK: u16 = 100;

static RESERVED: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Ports that no other process of the kit gives away, also while none of them is in use: a server that is killed has its port
/// back when it starts again. Whoever listens on the first port of a block has the others.
struct Block {
    reservation: TcpListener,
    given: u16,
}

impl Block {
    /// Reserves a block that no process has.
    fn reserve() -> Option<Self> {
        // Other processes should try other blocks first.
        let start = RandomState::new().hash_one(()) % u64::from(BLOCKS);
        let start = u16::try_from(start).unwrap_or_default();
        (0..BLOCKS).find_map(|number| {
            let first = FIRST + (start + number) % BLOCKS * BLOCK;
            let reservation = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
            Some(Self {
                reservation,
                given: 0,
            })
        })
    }

    /// The next port of the block that was not given and is free.
    fn next(&mut self) -> Option<u16> {
        let first = self.reservation.local_addr().ok()?.port();
        while self.given + 1 < BLOCK {
            self.given += 1;
            let port = first + self.given;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(port);
            }
        }
        None
    }
}

/// A port of 127.0.0.1 that was free a moment ago, and that nobody else is given by the kit while this process runs: servers
/// start side by side, and each takes a while until it listens.
pub fn free() -> Result<u16> {
    let mut reserved = RESERVED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(port) = reserved.last_mut().and_then(Block::next) {
        return Ok(port);
    }
    let mut block = Block::reserve().ok_or(Error::NoPort)?;
    let port = block.next().ok_or(Error::NoPort)?;
    reserved.push(block);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free().unwrap();
        assert!((FIRST..FIRST + BLOCKS * BLOCK).contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn a_port_is_not_given_again_before_anybody_listens_on_it() {
        let ports: BTreeSet<_> = (0..1000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 1000);
    }

    /// Seen with two suites on one machine: between the end of a server and its new start, the other suite had its port.
    #[test]
    fn a_port_is_not_given_by_another_process_either() {
        let one = Block::reserve().unwrap();
        let other = Block::reserve().unwrap();
        let first = |block: &Block| block.reservation.local_addr().unwrap().port();
        assert!(first(&one).abs_diff(first(&other)) >= BLOCK);
    }
}
