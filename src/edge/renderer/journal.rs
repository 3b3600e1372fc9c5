//! The shared journal, which only the renderer can reach. Its calls have connections of their own, so that requests for
//! images don't delay them, nor do purges delay the readings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Renderer;
use super::connection::{Connection, ConnectionLost};
use super::queue::Queue;
use crate::error::{Code, Failure};
use crate::key;
use crate::shared_journal::{Page, TargetKind};
use crate::wire;

/// How long a call may wait for a connection: for other calls, and for a new renderer.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take. The renderer's own timeouts are shorter, so that a slow bucket is an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a call is sent: a renderer may exit during the first one. Reading and recording may be repeated.
const ATTEMPTS: usize = 2;

impl Renderer {
    /// The page of a journal after a name: the one of the results bucket of the handler with this route.
    pub fn read_journal(&self, route: &str, after: &str) -> Result<Page, Failure> {
        // A name may be anything: another writer of the bucket chose it.
        let target = target(wire::JOURNAL_READ_PATH, route, after);
        let body = self.call(&self.shared.readings, &target)?;
        serde_json::from_slice(&body).map_err(|_| {
            Failure::new(Code::RendererFailed, "the renderer's answer is not a page of a journal")
        })
    }

    /// Records a purge for other servers, and removes the results that it concerns from the bucket.
    pub fn record_purge(
        &self,
        route: &str,
        purged: &str,
        kind: TargetKind,
        node: u64,
    ) -> Result<(), Failure> {
        let path = target(wire::JOURNAL_RECORD_PATH, route, purged);
        let target = format!("{path}?{}&{node:016x}", kind.name());
        self.call(&self.shared.purges, &target).map(drop)
    }

    fn call(&self, queue: &Queue, target: &str) -> Result<Vec<u8>, Failure> {
        let mut failure = Failure::new(Code::RendererFailed, "there is no renderer, or it is busy");
        for _ in 0..ATTEMPTS {
            let deadline = Instant::now() + QUEUE_TIMEOUT;
            let Some(mut connection) = queue.take(deadline) else { break };
            match connection.call(target, CALL_TIMEOUT) {
                Ok(result) => {
                    queue.give_back(connection);
                    return result;
                }
                Err(lost) => failure = self.lose(connection, lost),
            }
        }
        Err(failure)
    }

    fn lose(&self, connection: Connection, lost: ConnectionLost) -> Failure {
        let worker = Arc::clone(&connection.worker);
        drop(connection);
        self.abandon(&worker);
        let error = std::io::Error::from(lost);
        Failure::new(Code::RendererFailed, format!("the renderer did not answer: {error}"))
    }
}

/// The path of a call about a handler and a key, a prefix or a name.
fn target(call: &str, route: &str, key: &str) -> String {
    let path = key::to_path(route, key);
    // The path of a route begins with one slash; a key may begin with more.
    format!("{call}{}", path.strip_prefix('/').unwrap_or(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_can_be_split_again() {
        for (route, key) in [("h", ""), ("a b", "\u{fc}/ c?&#"), ("-x", "/a//b"), ("h", "a/")] {
            let target = target(wire::JOURNAL_RECORD_PATH, route, key);
            let rest = target.strip_prefix(wire::JOURNAL_RECORD_PATH).unwrap();
            assert!(!rest.contains('?'), "{rest}");
            let split = key::split_path(&format!("/{rest}"));
            assert_eq!(split, Some((route.to_owned(), key.to_owned())));
        }
    }
}
