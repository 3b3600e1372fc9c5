//! Who is connected, how long each has been idle, and who has to go when there is no room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::socket::Raw;
use crate::config::Limits;

/// A head or a handshake that has taken this long may be closed for a new connection, if nobody is idle.
const SLOW_HEAD: Duration = Duration::from_secs(1);

/// Every open connection.
#[derive(Debug)]
pub struct ConnectionTable {
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    slots: HashMap<u64, Arc<Slot>>,
    next: u64,
    /// Of those that were told to go and have not gone yet.
    leaving: usize,
    counted: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Slot {
    raw: Arc<Raw>,
    /// What the connection does and since when: see [`Slot::set`].
    state: AtomicU64,
    source: Option<Source>,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    /// Between two requests, or before the first one.
    Idle = 0,
    /// In a handshake or a head.
    Reading = 1,
    /// A request is being answered.
    Busy = 2,
    /// It was told to go.
    Leaving = 3,
}

/// What the cap for one address counts by: an IPv4 address, or an IPv6 /64, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(address.into()),
            IpAddr::V6(address) => {
                const HOST: u128 = u64::MAX as u128;
                Source(Ipv6Addr::from(u128::from(address) & !HOST).into())
            }
        }
    }
}

/// Why a connection can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `limits.connections`, and all of them are busy.
    Total,
    /// `limits.connections_per_address`
    Address,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<ConnectionTable>,
    number: u64,
    slot: Arc<Slot>,
}

impl ConnectionTable {
    /// Nobody is connected.
    pub fn new() -> ConnectionTable {
        ConnectionTable { started: Instant::now(), open: Mutex::default() }
    }

    /// Takes a connection. `counted` is its address, unless it is one that may have as many as it likes. When
    /// there are too many, whoever has been idle longest is closed.
    pub fn admit(
        self: &Arc<ConnectionTable>,
        raw: &Arc<Raw>,
        counted: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Place, Full> {
        let source = counted.map(Source::of);
        let mut open = self.lock();
        if let Some(source) = source
            && open
                .counted
                .get(&source)
                .is_some_and(|count| *count >= limits.connections_per_address)
        {
            return Err(Full::Address);
        }
        if open.slots.len() - open.leaving >= limits.connections && !self.close_one(&mut open) {
            return Err(Full::Total);
        }
        if let Some(source) = source {
            *open.counted.entry(source).or_default() += 1;
        }
        let state = AtomicU64::new(pack(Phase::Reading, self.now()));
        let slot = Arc::new(Slot { raw: Arc::clone(raw), state, source });
        let number = open.next;
        open.next += 1;
        open.slots.insert(number, Arc::clone(&slot));
        drop(open);
        Ok(Place { connections: Arc::clone(self), number, slot })
    }

    /// Closes the connection that has been idle longest, to get its descriptor back. Whether there was one.
    pub fn close_idlest(&self) -> bool {
        self.close_one(&mut self.lock())
    }

    fn close_one(&self, open: &mut Open) -> bool {
        // Each try is lost only to a request that begins at this very moment.
        const TRIES: usize = 4;
        let now = self.now();
        let is_slow = |since: u64| now.saturating_sub(since) >= milliseconds(SLOW_HEAD);
        for _ in 0..TRIES {
            let candidates = open.slots.iter().filter_map(|(number, slot)| {
                let state = slot.state.load(Ordering::Relaxed);
                let (phase, since) = unpack(state);
                let may_go = phase == Phase::Idle || (phase == Phase::Reading && is_slow(since));
                may_go.then_some(((phase as u64, since, *number), state, slot))
            });
            // Of those that became idle in the same millisecond the newest goes last: it may not even have had the
            // time to ask for anything.
            let longest = candidates.min_by_key(|(order, ..)| *order);
            let Some((_, state, slot)) = longest else { return false };
            let leaving = pack(Phase::Leaving, now);
            if slot
                .state
                .compare_exchange(state, leaving, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                // A request that has arrived already is still read and answered; then its thread sees the end.
                let _ = slot.raw.shutdown(Shutdown::Read);
                open.leaving += 1;
                return true;
            }
        }
        false
    }

    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> 2)
}

/// Phase and moment in one word, so that a request costs no lock here.
fn pack(phase: Phase, since: u64) -> u64 {
    (since << 2) | phase as u64
}

fn unpack(state: u64) -> (Phase, u64) {
    let phase = match state & 3 {
        0 => Phase::Idle,
        1 => Phase::Reading,
        2 => Phase::Busy,
        _ => Phase::Leaving,
    };
    (phase, state >> 2)
}

impl Place {
    /// The connection waits for its next request since this moment.
    pub fn idle(&self, now: Instant) {
        self.set(Phase::Idle, now);
    }

    /// The first bytes of a request have come.
    pub fn reading(&self, now: Instant) {
        self.set(Phase::Reading, now);
    }

    /// A request is being answered.
    pub fn busy(&self, now: Instant) {
        self.set(Phase::Busy, now);
    }

    /// Tells this connection from every other one of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the connection was told to go.
    pub fn is_leaving(&self) -> bool {
        unpack(self.slot.state.load(Ordering::Relaxed)).0 == Phase::Leaving
    }

    fn set(&self, phase: Phase, now: Instant) {
        let new =
            pack(phase, milliseconds(now.saturating_duration_since(self.connections.started)));
        let old = self.slot.state.load(Ordering::Relaxed);
        if unpack(old).0 != Phase::Leaving {
            // Lost only against being told to go, which stays.
            let _ =
                self.slot.state.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.slots.remove(&self.number);
        if self.is_leaving() {
            open.leaving -= 1;
        }
        if let Some(source) = self.slot.source
            && let Some(count) = open.counted.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                open.counted.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    struct Visitor {
        theirs: UnixStream,
        raw: Arc<Raw>,
    }

    fn visitor() -> Visitor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Visitor { theirs, raw: Arc::new(Raw::Unix(ours)) }
    }

    fn limits(connections: usize, connections_per_address: usize) -> Limits {
        let text =
            r#"{"handlers": [{"name": "h", "aws": {"bucket_name": "b", "anonymous": true}}]}"#;
        let config = crate::config::parse(text, "test").unwrap();
        Limits { connections, connections_per_address, ..config.limits }
    }

    fn is_closed(visitor: &mut Visitor) -> bool {
        visitor.theirs.set_nonblocking(true).unwrap();
        // Our side reads no more, so that theirs can't write; it is still open for an answer.
        std::io::Write::write(&mut visitor.theirs, b"x").is_err()
            && visitor.theirs.read(&mut [0]).is_err()
    }

    #[test]
    fn the_one_idle_longest_goes_first_and_a_busy_one_never() {
        let (connections, limits) = (Arc::new(ConnectionTable::new()), limits(3, 100));
        let mut visitors: Vec<Visitor> = (0..3).map(|_| visitor()).collect();
        let places: Vec<Place> =
            visitors.iter().map(|v| connections.admit(&v.raw, None, &limits).unwrap()).collect();
        let now = Instant::now();
        places[0].busy(now);
        places[1].idle(now + Duration::from_millis(20));
        places[2].idle(now + Duration::from_millis(10));
        let closed =
            |visitors: &mut Vec<Visitor>| visitors.iter_mut().map(is_closed).collect::<Vec<_>>();

        let first = connections.admit(&visitor().raw, None, &limits).unwrap();
        first.busy(now);
        assert_eq!(closed(&mut visitors), [false, false, true]);
        let second = connections.admit(&visitor().raw, None, &limits).unwrap();
        second.busy(now);
        assert_eq!(closed(&mut visitors), [false, true, true]);
        assert_eq!(connections.admit(&visitor().raw, None, &limits).unwrap_err(), Full::Total);
        assert!(places[2].is_leaving() && !places[0].is_leaving());
        drop(places);
        let third = connections.admit(&visitor().raw, None, &limits);
        assert!(third.is_ok(), "places are given back");
        drop((first, second, third));
        assert!(connections.lock().slots.is_empty() && connections.lock().leaving == 0);
    }

    #[test]
    fn a_slow_head_goes_when_nobody_is_idle() {
        let (connections, limits) = (Arc::new(ConnectionTable::new()), limits(1, 100));
        let place = connections.admit(&visitor().raw, None, &limits).unwrap();
        assert!(connections.admit(&visitor().raw, None, &limits).is_err(), "not at once");
        place.slot.state.store(pack(Phase::Reading, 0), Ordering::Relaxed);
        std::thread::sleep(SLOW_HEAD + Duration::from_millis(20));
        assert!(connections.admit(&visitor().raw, None, &limits).is_ok());
    }

    #[test]
    fn one_address_has_so_many_and_no_more() {
        let (connections, limits) = (Arc::new(ConnectionTable::new()), limits(100, 2));
        let admit = |address: &str| {
            connections.admit(&visitor().raw, Some(address.parse().unwrap()), &limits)
        };
        let kept = [admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap()];
        assert_eq!(admit("192.0.2.1").unwrap_err(), Full::Address);
        assert!(admit("192.0.2.2").is_ok());
        let six = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert_eq!(admit("2001:db8::ffff:1").unwrap_err(), Full::Address, "one /64");
        assert!(admit("2001:db8:0:1::1").is_ok());
        assert!(connections.admit(&visitor().raw, None, &limits).is_ok(), "a proxy is not counted");
        drop(kept);
        assert!(admit("192.0.2.1").is_ok());
        drop(six);
        assert!(connections.lock().counted.is_empty());
    }
}
