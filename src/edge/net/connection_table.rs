//! The table of open connections: enforces `limits.connections` and `limits.connections_per_address`, and closes the
//! longest idle connection when there is no room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

use crate::config::Limits;
use crate::metrics::{Held, RefusedConnection};
use crate::sync::Mutex;

/// A connection that has been reading a head or shaking hands for this long may be closed for a new one, if none is
/// idle.
const SLOW_HEAD: Duration = Duration::from_secs(1);
/// An idle connection that a stop does not wait for any more: a client sends its first request at once, and one that has
/// just got a response often sends another.
const QUIET: Duration = Duration::from_secs(1);
/// Maximum connections in [`Phase::Closing`], besides `limits.connections`, at which a refused one may linger.
const MAX_CLOSING: usize = 256;

#[derive(Debug)]
pub struct ConnectionTable {
    started: Instant,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<u64, Arc<Entry>>,
    next_id: u64,
    /// How many of them are in [`Phase::Closing`].
    closing: usize,
    by_network: HashMap<Network, usize>,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<OwnedFd>,
    /// Phase and the time of its start: see [`pack`].
    state: AtomicU64,
    network: Option<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    /// Before the first request, between two requests, or in a lingering close.
    Idle = 0,
    /// In a preface, a handshake or a head.
    Reading = 1,
    /// Answering a request.
    Busy = 2,
    /// Shut down for reading by [`ConnectionTable::close_longest_idle`], or refused. It does not count towards
    /// `limits.connections`.
    Closing = 3,
}

/// The unit of `limits.connections_per_address`: an IPv4 address, or an IPv6 /64, which one customer usually has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network(address.into()),
            IpAddr::V6(address) => {
                const HOST: u128 = u64::MAX as u128;
                Network(Ipv6Addr::from(u128::from(address) & !HOST).into())
            }
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `limits.connections` are open, and none may be closed.
    Total,
    /// `limits.connections_per_address`
    Address,
}

impl Full {
    pub fn label(self) -> RefusedConnection {
        match self {
            Full::Total => RefusedConnection::Connections,
            Full::Address => RefusedConnection::ConnectionsPerAddress,
        }
    }
}

/// The entry of one connection, removed when this is dropped.
#[derive(Debug)]
pub struct Registration {
    /// `None` for a refused connection.
    pub open: Option<Held>,
    table: Arc<ConnectionTable>,
    id: u64,
    entry: Arc<Entry>,
}

impl ConnectionTable {
    pub fn new() -> ConnectionTable {
        ConnectionTable { started: Instant::now(), entries: Mutex::default() }
    }

    /// Registers a connection. `counted` is the address that `limits.connections_per_address` applies to, if any. At
    /// `limits.connections` the longest idle connection is closed for it.
    pub fn register(
        self: &Arc<ConnectionTable>,
        socket: &Arc<OwnedFd>,
        counted: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Registration, Full> {
        let network = counted.map(Network::of);
        let mut entries = self.entries.lock();
        if let Some(network) = network
            && entries
                .by_network
                .get(&network)
                .is_some_and(|count| *count >= limits.connections_per_address)
        {
            return Err(Full::Address);
        }
        if entries.by_id.len() - entries.closing >= limits.connections
            && !self.close_one(&mut entries)
        {
            return Err(Full::Total);
        }
        if let Some(network) = network {
            *entries.by_network.entry(network).or_default() += 1;
        }
        Ok(self.insert(&mut entries, socket, Phase::Reading, network))
    }

    /// Registers a refused connection for its lingering close. `None` if too many connections are closing already.
    pub fn register_refused(
        self: &Arc<ConnectionTable>,
        socket: &Arc<OwnedFd>,
    ) -> Option<Registration> {
        let mut entries = self.entries.lock();
        if entries.closing >= MAX_CLOSING {
            return None;
        }
        entries.closing += 1;
        Some(self.insert(&mut entries, socket, Phase::Closing, None))
    }

    fn insert(
        self: &Arc<ConnectionTable>,
        entries: &mut Entries,
        socket: &Arc<OwnedFd>,
        phase: Phase,
        network: Option<Network>,
    ) -> Registration {
        let state = AtomicU64::new(pack(phase, self.now()));
        let entry = Arc::new(Entry { socket: Arc::clone(socket), state, network });
        let id = entries.next_id;
        entries.next_id += 1;
        entries.by_id.insert(id, Arc::clone(&entry));
        Registration { open: None, table: Arc::clone(self), id, entry }
    }

    /// Closes the longest idle connection, which frees its descriptor. `false` if there is none.
    pub fn close_longest_idle(&self) -> bool {
        self.close_one(&mut self.entries.lock())
    }

    fn close_one(&self, entries: &mut Entries) -> bool {
        // An attempt fails only if a request begins at the same moment.
        const MAX_ATTEMPTS: usize = 4;
        let now = self.now();
        let is_slow = |since: u64| now.saturating_sub(since) >= milliseconds(SLOW_HEAD);
        for _ in 0..MAX_ATTEMPTS {
            let candidates = entries.by_id.iter().filter_map(|(id, entry)| {
                let state = entry.state.load(Ordering::Relaxed);
                let (phase, since) = unpack(state);
                let may_close = phase == Phase::Idle || (phase == Phase::Reading && is_slow(since));
                may_close.then_some(((phase as u64, since, *id), state, entry))
            });
            // Within one millisecond the oldest connection comes first: the newest may not have had time to send a
            // request.
            let longest_idle = candidates.min_by_key(|(order, ..)| *order);
            let Some((_, state, entry)) = longest_idle else { return false };
            let closing = pack(Phase::Closing, now);
            if entry
                .state
                .compare_exchange(state, closing, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                // A request that has already arrived is still read and answered; then the end of the stream is read.
                let _ = shutdown(&entry.socket, Shutdown::Read);
                entries.closing += 1;
                return true;
            }
        }
        false
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.entries.lock().by_id.len()
    }

    /// The number of connections on which a request may be under way: it is being read or answered, or the connection
    /// was opened or got a response a moment ago.
    pub fn unfinished(&self) -> usize {
        let now = self.now();
        let entries = self.entries.lock();
        let is_unfinished = |entry: &&Arc<Entry>| match unpack(entry.state.load(Ordering::Relaxed))
        {
            (Phase::Reading | Phase::Busy, _) => true,
            (Phase::Idle, since) => now.saturating_sub(since) < milliseconds(QUIET),
            (Phase::Closing, _) => false,
        };
        entries.by_id.values().filter(is_unfinished).count()
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> 2)
}

/// Phase and start in one word, so that a request takes no lock.
fn pack(phase: Phase, since: u64) -> u64 {
    (since << 2) | phase as u64
}

fn unpack(state: u64) -> (Phase, u64) {
    let phase = match state & 3 {
        0 => Phase::Idle,
        1 => Phase::Reading,
        2 => Phase::Busy,
        _ => Phase::Closing,
    };
    (phase, state >> 2)
}

impl Registration {
    /// It waits for a request, or lingers.
    pub fn set_idle(&self, now: Instant) {
        self.set(Phase::Idle, now);
    }

    /// The first bytes of a request have arrived.
    pub fn set_reading(&self, now: Instant) {
        self.set(Phase::Reading, now);
    }

    /// A request is being answered.
    pub fn set_busy(&self, now: Instant) {
        self.set(Phase::Busy, now);
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether the table has shut the connection down for reading, or refused it.
    pub fn is_closing(&self) -> bool {
        unpack(self.entry.state.load(Ordering::Relaxed)).0 == Phase::Closing
    }

    fn set(&self, phase: Phase, now: Instant) {
        let since = milliseconds(now.saturating_duration_since(self.table.started));
        let new = pack(phase, since);
        let old = self.entry.state.load(Ordering::Relaxed);
        if unpack(old).0 != Phase::Closing {
            // Fails only if the table is closing the connection right now, which then stands.
            let _ =
                self.entry.state.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = self.table.entries.lock();
        entries.by_id.remove(&self.id);
        if self.is_closing() {
            entries.closing -= 1;
        }
        if let Some(network) = self.entry.network
            && let Some(count) = entries.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                entries.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    struct Peer {
        stream: UnixStream,
        socket: Arc<OwnedFd>,
    }

    fn peer() -> Peer {
        let (server, stream) = UnixStream::pair().unwrap();
        Peer { stream, socket: Arc::new(server.into()) }
    }

    fn limits(connections: usize, connections_per_address: usize) -> Limits {
        let text =
            r#"{"handlers": [{"name": "h", "aws": {"bucket_name": "b", "anonymous": true}}]}"#;
        let config = crate::config::parse(text, "test").unwrap();
        Limits { connections, connections_per_address, ..config.limits }
    }

    /// Whether the server's side is shut down for reading, though still open for a response.
    fn is_shut_down(peer: &mut Peer) -> bool {
        peer.stream.set_nonblocking(true).unwrap();
        peer.stream.write(b"x").is_err() && peer.stream.read(&mut [0]).is_err()
    }

    #[test]
    fn connection_table_closes_the_longest_idle_connection_and_never_a_busy_one() {
        let table = Arc::new(ConnectionTable::new());
        let limits = limits(3, 100);
        let mut peers: Vec<Peer> = (0..3).map(|_| peer()).collect();
        let registrations: Vec<Registration> =
            peers.iter().map(|peer| table.register(&peer.socket, None, &limits).unwrap()).collect();
        let now = Instant::now();
        registrations[0].set_busy(now);
        registrations[1].set_idle(now + Duration::from_millis(20));
        registrations[2].set_idle(now + Duration::from_millis(10));
        let closed = |peers: &mut Vec<Peer>| peers.iter_mut().map(is_shut_down).collect::<Vec<_>>();

        let first = table.register(&peer().socket, None, &limits).unwrap();
        first.set_busy(now);
        assert_eq!(closed(&mut peers), [false, false, true]);
        let second = table.register(&peer().socket, None, &limits).unwrap();
        second.set_busy(now);
        assert_eq!(closed(&mut peers), [false, true, true]);
        assert_eq!(table.register(&peer().socket, None, &limits).unwrap_err(), Full::Total);
        assert!(registrations[2].is_closing() && !registrations[0].is_closing());
        drop(registrations);
        let third = table.register(&peer().socket, None, &limits);
        assert!(third.is_ok(), "dropping a registration must make room");
        drop((first, second, third));
        assert!(table.entries.lock().by_id.is_empty() && table.entries.lock().closing == 0);
    }

    #[test]
    fn connection_table_closes_a_slow_head_when_no_connection_is_idle() {
        let table = Arc::new(ConnectionTable::new());
        let limits = limits(1, 100);
        let registration = table.register(&peer().socket, None, &limits).unwrap();
        assert!(table.register(&peer().socket, None, &limits).is_err(), "not slow yet");
        registration.entry.state.store(pack(Phase::Reading, 0), Ordering::Relaxed);
        std::thread::sleep(SLOW_HEAD + Duration::from_millis(20));
        assert!(table.register(&peer().socket, None, &limits).is_ok());
    }

    #[test]
    fn connections_are_unfinished_until_they_have_been_idle_for_a_moment() {
        let table = Arc::new(ConnectionTable::new());
        let registration = table.register(&peer().socket, None, &limits(9, 9)).unwrap();
        assert_eq!((table.open(), table.unfinished()), (1, 1), "a preface or a handshake");
        registration.set_idle(Instant::now());
        assert_eq!(table.unfinished(), 1, "no request yet");
        let state = |phase| registration.entry.state.store(pack(phase, 0), Ordering::Relaxed);
        std::thread::sleep(QUIET);
        state(Phase::Idle);
        assert_eq!((table.open(), table.unfinished()), (1, 0));
        state(Phase::Busy);
        assert_eq!(table.unfinished(), 1);
    }

    #[test]
    fn connections_per_address_counts_ipv4_addresses_and_ipv6_64s() {
        let table = Arc::new(ConnectionTable::new());
        let limits = limits(100, 2);
        let register =
            |address: &str| table.register(&peer().socket, Some(address.parse().unwrap()), &limits);
        let ipv4 = [register("192.0.2.1").unwrap(), register("::ffff:192.0.2.1").unwrap()];
        assert_eq!(register("192.0.2.1").unwrap_err(), Full::Address);
        assert!(register("192.0.2.2").is_ok());
        let ipv6 = [register("2001:db8::1").unwrap(), register("2001:db8::2").unwrap()];
        assert_eq!(register("2001:db8::ffff:1").unwrap_err(), Full::Address, "same /64");
        assert!(register("2001:db8:0:1::1").is_ok());
        assert!(table.register(&peer().socket, None, &limits).is_ok(), "a proxy is not counted");
        drop(ipv4);
        assert!(register("192.0.2.1").is_ok());
        drop(ipv6);
        assert!(table.entries.lock().by_network.is_empty());
    }

    #[test]
    fn refused_connections_are_bounded_and_take_no_room() {
        let table = Arc::new(ConnectionTable::new());
        let limits = limits(1, 100);
        let refused: Vec<Option<Registration>> =
            (0..=MAX_CLOSING).map(|_| table.register_refused(&peer().socket)).collect();
        assert_eq!(refused.iter().flatten().count(), MAX_CLOSING);
        let open = table.register(&peer().socket, None, &limits).unwrap();
        open.set_busy(Instant::now());
        assert_eq!(table.register(&peer().socket, None, &limits).unwrap_err(), Full::Total);
        drop(refused);
        assert!(table.register_refused(&peer().socket).is_some());
        drop(open);
        assert!(table.entries.lock().by_id.is_empty() && table.entries.lock().closing == 0);
    }
}
