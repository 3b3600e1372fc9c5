//! The pooled HTTP agent that every request to an origin goes through.
//!
//! Connecting and TLS cost several round trips and most of a small GET's CPU, so connections are kept and shared by all
//! handlers with the same `ca_file` and limits.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};

use super::resolver::SharedResolver;
use super::tls;
use crate::config::Limits;
use crate::sync::Mutex;

/// How long a connection may be idle and still be used: less than the idle timeouts of NATs and firewalls, which drop
/// a connection silently. (A connection that the peer has closed is noticed before it is used.)
const MAX_IDLE_AGE: Duration = Duration::from_secs(30);
/// Large enough for a request head with a long key and a session token.
const OUTPUT_BUFFER: usize = 16 << 10;
const INPUT_BUFFER: usize = 64 << 10;
/// The longest head of a response; it must fit into the input buffer.
const MAX_HEAD: usize = 32 << 10;

/// The settings by which agents differ.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    ca_file: Option<PathBuf>,
    /// Whether only public addresses are connected to.
    public_only: bool,
    connect: Duration,
    first_byte: Duration,
    whole: Duration,
    at_once: usize,
}

static AGENTS: Mutex<Vec<(Settings, Weak<Agent>)>> = Mutex::new(Vec::new());

/// The agent for this `ca_file` and these limits. An error is the rest of a sentence about the file.
pub fn shared(ca_file: Option<PathBuf>, limits: &Limits) -> Result<Arc<Agent>, String> {
    shared_with(ca_file, false, limits)
}

/// As [`shared`], for an agent that connects to public addresses only.
pub fn public_only(ca_file: Option<PathBuf>, limits: &Limits) -> Result<Arc<Agent>, String> {
    shared_with(ca_file, true, limits)
}

fn shared_with(
    ca_file: Option<PathBuf>,
    public_only: bool,
    limits: &Limits,
) -> Result<Arc<Agent>, String> {
    let settings = Settings {
        ca_file,
        public_only,
        connect: limits.origin_connect_timeout,
        first_byte: limits.origin_first_byte_timeout,
        whole: limits.origin_timeout,
        at_once: limits.fetches_at_once,
    };
    let mut agents = AGENTS.lock();
    agents.retain(|(_, agent)| agent.strong_count() > 0);
    let known =
        agents.iter().find(|(known, _)| *known == settings).and_then(|(_, agent)| agent.upgrade());
    if let Some(agent) = known {
        return Ok(agent);
    }
    let agent = Arc::new(build(&settings)?);
    agents.push((settings, Arc::downgrade(&agent)));
    Ok(agent)
}

fn build(settings: &Settings) -> Result<Agent, String> {
    let config = Config::builder()
        .tls_config(tls::config(settings.ca_file.as_deref())?)
        .timeout_global(Some(settings.whole))
        .timeout_resolve(Some(settings.connect))
        .timeout_connect(Some(settings.connect))
        .timeout_send_request(Some(settings.first_byte))
        .timeout_send_body(Some(settings.first_byte))
        .timeout_recv_response(Some(settings.first_byte))
        .timeout_recv_body(Some(settings.whole))
        .max_idle_connections(settings.at_once)
        .max_idle_connections_per_host(settings.at_once)
        .max_idle_age(MAX_IDLE_AGE)
        .http_status_as_error(false)
        // A redirect from S3 means another region; following it would send the signature to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // By default ureq takes HTTP_PROXY and the like from the environment.
        .proxy(None)
        .no_delay(true)
        .accept_encoding("identity")
        .user_agent(concat!("s3imageserver/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_response_header_size(MAX_HEAD)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, SharedResolver::new(settings.public_only)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing;

    #[test]
    fn agents_are_shared_by_origins_with_the_same_settings() {
        let mut limits = testing::limits();
        let first = shared(None, &limits).unwrap();
        assert!(Arc::ptr_eq(&first, &shared(None, &limits).unwrap()));
        assert!(!Arc::ptr_eq(&first, &public_only(None, &limits).unwrap()));
        limits.fetches_at_once += 1;
        assert!(!Arc::ptr_eq(&first, &shared(None, &limits).unwrap()));
    }
}
