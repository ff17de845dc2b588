//! Free ports on loopback.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which Linux and macOS hand out ports for outgoing connections: else a connection of any
/// process could sit on the API server's port while that is being restarted.
const RANGE: std::ops::Range<u64> = 20_000..32_000;

/// `N` different ports that nobody listens on right now. Another process may still take one before its user binds
/// it, so callers retry.
pub(crate) fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(N);
    for _ in 0..1_000 {
        if held.len() == N {
            break;
        }
        let port = RANGE.start + random() % (RANGE.end - RANGE.start);
        let Ok(port) = u16::try_from(port) else {
            continue;
        };
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| {
        io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("no {N} free ports in {RANGE:?} on 127.0.0.1"),
        )
    })
}

/// The standard library's one source of randomness: the seed of its hash maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
