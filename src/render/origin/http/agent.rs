//! The pooled HTTP agent that every request to an origin goes through.
//!
//! Connecting and TLS cost several round trips and most of a small GET's CPU, so connections are kept and
//! shared: by all handlers whose TLS roots and limits are the same.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::transport::{Connector, TcpConnector};

use super::resolver::SharedResolver;
use super::tls::{self, TlsConnector};
use crate::config::Limits;

/// How long a connection may be idle and still be used: below the idle timeouts of the NATs and firewalls
/// that forget a connection without a word. (That the peer has closed it is seen before it is used.)
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// Holds a request head with a long key and a session token.
const OUTPUT_BUFFER: usize = 16 << 10;
const INPUT_BUFFER: usize = 64 << 10;
/// The longest head of an answer; it must fit into the input buffer.
const LONGEST_HEAD: usize = 32 << 10;

/// What tells one agent from another.
#[derive(Clone, PartialEq, Eq)]
struct Shape {
    ca_file: Option<PathBuf>,
    connect: Duration,
    first_byte: Duration,
    whole: Duration,
    at_once: usize,
}

static AGENTS: Mutex<Vec<(Shape, Weak<Agent>)>> = Mutex::new(Vec::new());

/// The agent for this `ca_file` and these limits. An error is the rest of a sentence about the file.
pub fn shared(ca_file: Option<PathBuf>, limits: &Limits) -> Result<Arc<Agent>, String> {
    let shape = Shape {
        ca_file,
        connect: limits.origin_connect_timeout,
        first_byte: limits.origin_first_byte_timeout,
        whole: limits.origin_timeout,
        at_once: limits.fetches_at_once,
    };
    let mut agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
    agents.retain(|(_, agent)| agent.strong_count() > 0);
    let known =
        agents.iter().find(|(known, _)| *known == shape).and_then(|(_, agent)| agent.upgrade());
    if let Some(agent) = known {
        return Ok(agent);
    }
    let agent = Arc::new(build(&shape)?);
    agents.push((shape, Arc::downgrade(&agent)));
    Ok(agent)
}

fn build(shape: &Shape) -> Result<Agent, String> {
    let tls = TlsConnector::new(tls::roots(shape.ca_file.as_deref())?)?;
    let config = Config::builder()
        .timeout_global(Some(shape.whole))
        .timeout_resolve(Some(shape.connect))
        .timeout_connect(Some(shape.connect))
        .timeout_send_request(Some(shape.first_byte))
        .timeout_send_body(Some(shape.first_byte))
        .timeout_recv_response(Some(shape.first_byte))
        .timeout_recv_body(Some(shape.whole))
        .max_idle_connections(shape.at_once)
        .max_idle_connections_per_host(shape.at_once)
        .max_idle_age(LONGEST_IDLE)
        .http_status_as_error(false)
        // A redirect from S3 means another region; followed, it would take the signature to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // By default ureq takes HTTP_PROXY and the like from the environment.
        .proxy(None)
        .no_delay(true)
        .accept_encoding("identity")
        .user_agent(concat!("s3imageserver/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_response_header_size(LONGEST_HEAD)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(tls);
    Ok(Agent::with_parts(config, connector, SharedResolver::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing;

    #[test]
    fn the_same_shape_is_the_same_agent() {
        let mut limits = testing::limits();
        let first = shared(None, &limits).unwrap();
        assert!(Arc::ptr_eq(&first, &shared(None, &limits).unwrap()));
        limits.fetches_at_once += 1;
        assert!(!Arc::ptr_eq(&first, &shared(None, &limits).unwrap()));
    }
}
