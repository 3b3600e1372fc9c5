//! Resolves host names, with a deadline and a short cache.
//!
//! ureq resolves before it looks into its pool, and its own resolver starts a thread for each lookup, so 1,000 requests
//! over one kept-alive connection would be 1,000 lookups and threads. Here concurrent requests share one lookup, and
//! later ones use its result for a few seconds.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::public::{NotPublic, is_public};
use crate::sync::{self, Mutex};

/// How long a lookup's result is used: the time to live of S3's own names.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried: the capacity of ureq's list.
const MAX_ADDRESSES: usize = 16;

/// Resolves with the system's resolver.
#[derive(Default)]
pub struct SharedResolver {
    /// Whether only public addresses are connected to. A connection is made to one of the addresses that this resolver
    /// returned for it, so a name that leads elsewhere a moment later is checked like any other.
    public_only: bool,
    names: Mutex<HashMap<(String, u16), Arc<Name>>>,
}

#[derive(Default)]
struct Name {
    lookup: Mutex<Lookup>,
    done: Condvar,
}

#[derive(Default)]
struct Lookup {
    running: bool,
    /// When the last lookup ended, and its result.
    last: Option<(Instant, Result<Vec<SocketAddr>, String>)>,
}

impl Resolver for SharedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return self.allowed(vec![SocketAddr::new(ip, port)]);
        }
        let name = {
            let mut names = self.names.lock();
            names.entry((bare.to_owned(), port)).or_default().clone()
        };
        let ask = {
            let host = bare.to_owned();
            move || look_up(&host, port)
        };
        match name.addresses(*timeout.after, ask) {
            None => Err(Error::Timeout(timeout.reason)),
            Some(Err(problem)) => Err(io::Error::other(problem).into()),
            Some(Ok(found)) => self.allowed(found),
        }
    }
}

impl SharedResolver {
    pub fn new(public_only: bool) -> SharedResolver {
        SharedResolver { public_only, names: Mutex::default() }
    }

    /// The addresses that may be connected to, of those that were found.
    fn allowed(&self, found: Vec<SocketAddr>) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        let is_allowed = |address: &&SocketAddr| !self.public_only || is_public(address.ip());
        let allowed = found.iter().filter(is_allowed).take(MAX_ADDRESSES);
        allowed.for_each(|address| addresses.push(*address));
        match (addresses.is_empty(), found.first()) {
            (true, Some(address)) => Err(io::Error::other(NotPublic(address.ip())).into()),
            _ => Ok(addresses),
        }
    }
}

impl Name {
    /// The addresses, cached or from a lookup on a thread, because `getaddrinfo` has no timeout. `None` when the time is
    /// up.
    fn addresses(
        self: &Arc<Name>,
        within: Duration,
        ask: impl FnOnce() -> Result<Vec<SocketAddr>, String> + Send + 'static,
    ) -> Option<Result<Vec<SocketAddr>, String>> {
        let asked = Instant::now();
        let mut lookup = self.lookup.lock();
        if let Some((at, Ok(addresses))) = &lookup.last
            && at.elapsed() < TIME_TO_LIVE
        {
            return Some(Ok(addresses.clone()));
        }
        if !lookup.running {
            lookup.running = true;
            let name = Arc::clone(self);
            let started = std::thread::Builder::new()
                .name("resolve".into())
                .spawn(move || name.finish(ask()));
            if let Err(error) = started {
                lookup.running = false;
                return Some(Err(format!("can't start a thread for the lookup: {error}")));
            }
        }
        loop {
            match &lookup.last {
                Some((at, result)) if *at >= asked => return Some(result.clone()),
                _ => {}
            }
            let left = within.checked_sub(asked.elapsed())?;
            lookup = sync::wait_timeout(&self.done, lookup, left);
        }
    }

    fn finish(&self, result: Result<Vec<SocketAddr>, String>) {
        let mut lookup = self.lookup.lock();
        lookup.running = false;
        lookup.last = Some((Instant::now(), result));
        self.done.notify_all();
    }
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (host, port).to_socket_addrs() {
        Err(error) => Err(format!("the name {host} can't be resolved: {error}")),
        Ok(addresses) => match addresses.collect::<Vec<_>>() {
            none if none.is_empty() => Err(format!("the name {host} has no address")),
            some => Ok(some),
        },
    }
}

impl fmt::Debug for SharedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedResolver")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn address() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 80))]
    }

    #[test]
    fn a_resolver_result_is_cached() {
        let name = Arc::new(Name::default());
        assert_eq!(name.addresses(LONG, || Ok(address())), Some(Ok(address())));
        assert_eq!(name.addresses(LONG, || Err("asked again".into())), Some(Ok(address())));
    }

    #[test]
    fn a_resolver_error_is_not_cached() {
        let name = Arc::new(Name::default());
        assert_eq!(name.addresses(LONG, || Err("down".into())), Some(Err("down".into())));
        assert_eq!(name.addresses(LONG, || Ok(address())), Some(Ok(address())));
    }

    #[test]
    fn concurrent_requests_share_one_lookup() {
        let name = Arc::new(Name::default());
        let lookups = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let name = name.clone();
                let lookups = lookups.clone();
                thread::spawn(move || {
                    let ask = move || {
                        lookups.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(100));
                        Ok(address())
                    };
                    name.addresses(LONG, ask)
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Some(Ok(address())));
        }
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_lookup_that_hangs_times_out_and_is_not_started_again() {
        let name = Arc::new(Name::default());
        let (release, hangs) = mpsc::channel::<()>();
        let ask = move || hangs.recv().map(|()| address()).map_err(|error| error.to_string());
        assert_eq!(name.addresses(Duration::from_millis(20), ask), None);
        assert_eq!(
            name.addresses(Duration::from_millis(20), || Err("a second lookup".into())),
            None
        );
        release.send(()).unwrap();
        assert_eq!(name.addresses(LONG, || Ok(address())), Some(Ok(address())));
    }
}
