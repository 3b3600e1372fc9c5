//! The renderer as the edge sees it: a fixed set of connections to a child process that may die at any time.
//!
//! A request that a dead renderer had is tried once more on the next one, unless it is what killed it.

mod connection;
mod crash_tracker;
mod exit_watch;
mod heartbeat;
mod in_flight;
mod process;
mod quarantine;
mod queue;
mod socket_directory;
mod supervisor;
mod worker;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Rendered;
use crate::config::Limits;
use crate::error::{Code, Failure};
use crate::wire::Setup;
use connection::ConnectionLost;
pub use connection::RenderRequest;
use crash_tracker::{CrashTracker, Suspicion};
use quarantine::{Pass, Quarantine};
use queue::Queue;
pub use socket_directory::SocketDirectory;
use supervisor::{Event, Supervisor};

/// How long a request waits to be told whether it is to crash_tracker for its renderer's end. Without an answer it is not
/// proven.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// So many renderers may be gone before they have a request that is not tried on another.
const MOST_UNSENT: u32 = 8;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The image failed.
    Failure(Failure),
    /// Too many are waiting already; the client should come again.
    Overloaded,
}

/// Asks whichever renderer is running. There may be more than one of these, each with renderers of its own; dropping
/// it ends them.
#[derive(Debug)]
pub struct Renderer {
    shared: Arc<Shared>,
    events: Sender<Event>,
    directory: Arc<SocketDirectory>,
    limits: Limits,
}

/// What the asking threads and the supervisor share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    crash_tracker: Arc<CrashTracker>,
    quarantine: Quarantine,
}

/// What came of asking one renderer.
enum Attempt {
    /// It answered, or it is certain that the request is not to be tried again.
    Over(Result<Rendered, Failure>),
    /// It was gone before it had the request.
    NotSent(io::Error),
    /// It could not, and the next one may be able to: directories and files are others than when it started.
    Outdated(Failure),
    /// It ended, and not because of this request as far as is known.
    ConnectionLost(String),
}

impl Renderer {
    /// Starts the first renderer and keeps one running from then on.
    pub fn start(setup: Setup, limits: &Limits) -> io::Result<Renderer> {
        let directory = Arc::new(SocketDirectory::create()?);
        let shared = Arc::new(Shared {
            queue: Queue::new(limits.queue_length),
            crash_tracker: Arc::default(),
            quarantine: Quarantine::new(limits.queue_length),
        });
        let (events, received) = channel();
        let supervisor = Supervisor::new(
            Arc::clone(&directory),
            setup,
            limits,
            Arc::clone(&shared),
            events.clone(),
        );
        let (started, first) = channel();
        // Every renderer ends with the thread that starts it, so this one starts them all, from the first one on.
        thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervisor.run(&received, |result| drop(started.send(result))))?;
        first.recv().unwrap_or_else(|_| Err(io::Error::other("the supervisor ended")))?;
        Ok(Renderer { shared, events, directory, limits: limits.clone() })
    }

    /// What would outlive the process; the renderer itself ends with it.
    pub fn directory(&self) -> &Arc<SocketDirectory> {
        &self.directory
    }

    /// The longest time that [`Renderer::ask`] can take.
    pub fn longest_ask(&self) -> Duration {
        (self.limits.queue_timeout + self.limits.render_timeout) * 2 + REPORT_TIMEOUT
    }

    /// Whether a question that came now would be [`RenderError::Overloaded`] at once.
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Asks for a path and canonical query, waiting for a free connection as long as the limits say.
    pub fn ask(&self, wanted: RenderRequest) -> Result<Rendered, RenderError> {
        self.ask_within(wanted, self.limits.queue_timeout)
    }

    /// [`Renderer::ask`] with a timeout of one's own for a free connection.
    pub fn ask_within(
        &self,
        wanted: RenderRequest,
        timeout: Duration,
    ) -> Result<Rendered, RenderError> {
        let target = wanted.target;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let mut deadline = Instant::now() + timeout;
        let (mut unsent, mut lost, mut outdated) = (0, false, false);
        loop {
            match self.attempt(wanted, path, deadline)? {
                Attempt::Over(answer) => return answer.map_err(RenderError::Failure),
                Attempt::NotSent(_) if unsent < MOST_UNSENT => unsent += 1,
                Attempt::Outdated(_) if !outdated => outdated = true,
                Attempt::Outdated(failure) => return Err(RenderError::Failure(failure)),
                Attempt::ConnectionLost(_) if !lost => {
                    lost = true;
                    deadline = Instant::now() + timeout;
                }
                Attempt::NotSent(error) => {
                    let detail =
                        format!("one renderer after the other ended before it was asked: {error}");
                    return Err(failure(Code::RendererFailed, detail));
                }
                Attempt::ConnectionLost(how) => {
                    let detail = format!("a second renderer ended while it worked on this ({how})");
                    return Err(failure(Code::RendererFailed, detail));
                }
            }
        }
    }

    /// Asks one renderer.
    fn attempt(
        &self,
        wanted: RenderRequest,
        path: &str,
        deadline: Instant,
    ) -> Result<Attempt, RenderError> {
        let _pass = self.admit(path, deadline)?;
        let mut connection = self.shared.queue.take(deadline).ok_or(RenderError::Overloaded)?;
        let worker = Arc::clone(connection.worker());
        let in_flight = worker.in_flight();
        let id = in_flight.open(path);
        let lost = match connection.ask(wanted, id, self.limits.render_timeout) {
            Ok(said) => {
                in_flight.close(id);
                match &said.result {
                    Ok(_) => self.shared.crash_tracker.clear(path),
                    Err(failure) if failure.code == Code::DecodeTimeout => self.overdue(path),
                    Err(_) => {}
                }
                self.shared.queue.give_back(connection);
                if said.is_outdated {
                    let _ = self.events.send(Event::Outdated(worker.number()));
                }
                if worker.count_answer() == self.limits.renderer_max_renders {
                    let _ = self.events.send(Event::Look);
                }
                return Ok(match said.result {
                    // The next one may well have it; nobody is to ask this one meanwhile.
                    Err(failure) if said.is_outdated => {
                        self.shared.queue.forget(worker.number());
                        Attempt::Outdated(failure)
                    }
                    result => Attempt::Over(result),
                });
            }
            Err(lost) => lost,
        };
        drop(connection);
        // One connection less is a worker less; and a renderer that does not answer can't be trusted with
        // the next request. What else it works on is still awaited.
        self.shared.queue.forget(worker.number());
        let _ = self.events.send(Event::ConnectionLost(worker.number()));
        let error = match lost {
            ConnectionLost::NotSent(error) => {
                in_flight.close(id);
                return Ok(Attempt::NotSent(error));
            }
            ConnectionLost::NotAnswered(error) => error,
        };
        Ok(match error.kind() {
            ErrorKind::TimedOut => {
                if in_flight.abandon(id) {
                    self.overdue(path);
                }
                Attempt::Over(Err(Failure::new(
                    Code::RenderTimeout,
                    "the renderer did not answer in time",
                )))
            }
            // It answered, but not as it should, and would do so again.
            ErrorKind::InvalidData => {
                in_flight.close(id);
                Attempt::Over(Err(Failure::new(Code::RendererFailed, error.to_string())))
            }
            _ => {
                let crash_report = in_flight.crash_report(REPORT_TIMEOUT);
                in_flight.close(id);
                match crash_report {
                    Some(crash_report) if crash_report.culprits.contains(&id) => {
                        let detail = format!(
                            "the renderer ended while it decoded this ({})",
                            crash_report.how
                        );
                        Attempt::Over(Err(Failure::new(Code::RendererFailed, detail)))
                    }
                    Some(crash_report) => Attempt::ConnectionLost(crash_report.how),
                    None => Attempt::ConnectionLost(error.to_string()),
                }
            }
        })
    }

    /// The work on this path took too long.
    fn overdue(&self, path: &str) {
        if self.shared.crash_tracker.overdue(path, Instant::now()) {
            exit_watch::report_refusal(path);
        }
    }

    /// Refuses a path that ends renderers. One that may be such goes alone for as long as it holds the pass.
    fn admit(&self, path: &str, deadline: Instant) -> Result<Option<Pass<'_>>, RenderError> {
        let mut pass = None;
        loop {
            match self.shared.crash_tracker.suspicion(path, Instant::now()) {
                Suspicion::Clear => return Ok(None),
                Suspicion::Suspect if pass.is_some() => return Ok(pass),
                Suspicion::Suspect => {
                    pass = Some(
                        self.shared.quarantine.enter(deadline).ok_or(RenderError::Overloaded)?,
                    );
                }
                Suspicion::Refused => {
                    let detail = "renderers have ended or hung because of this key, so it is not tried for now";
                    return Err(failure(Code::CrashesRenderer, detail));
                }
            }
        }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        // The supervisor ends the renderers on its own thread.
        let _ = self.events.send(Event::Stop);
    }
}

fn failure(code: Code, detail: impl Into<String>) -> RenderError {
    RenderError::Failure(Failure::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Handler};
    use std::path::Path;

    const TARGET: &str = "/h/error_image.jpg?w=20";

    fn start() -> Renderer {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": {:?}}}]}}"#,
            env!("CARGO_MANIFEST_DIR")
        );
        let config = config::parse(&text, "test").unwrap();
        let resolved = config.handlers.iter().map(Handler::resolved).collect();
        Renderer::start(Setup { text, resolved }, &config.limits).unwrap()
    }

    fn process(renderer: &Renderer) -> u32 {
        let connection =
            renderer.shared.queue.take(Instant::now() + Duration::from_secs(20)).unwrap();
        let id = connection.worker().process().id();
        renderer.shared.queue.give_back(connection);
        id
    }

    fn eventually(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_there(process: u32) -> bool {
        Path::new(&format!("/proc/{process}")).exists()
    }

    #[test]
    fn two_work_side_by_side_and_dropping_one_ends_what_it_started() {
        let (one, two) = (start(), start());
        let ids = [&one, &two].map(process);
        for renderer in [&one, &two] {
            renderer.ask(RenderRequest::anything(TARGET)).unwrap();
        }
        let directory = one.directory.socket(0).parent().unwrap().to_owned();
        let supervisor_has_left = Arc::downgrade(&one.shared);
        drop(one);
        eventually(|| !is_there(ids[0]) && !directory.exists());
        eventually(|| supervisor_has_left.strong_count() == 0);
        assert!(is_there(ids[1]));
        two.ask(RenderRequest::anything(TARGET)).unwrap();
    }

    #[test]
    fn one_that_was_dropped_while_it_has_no_renderer_does_not_start_another() {
        let renderer = start();
        let (id, directory) =
            (process(&renderer), renderer.directory.socket(0).parent().unwrap().to_owned());
        let connection = renderer.shared.queue.take(Instant::now()).unwrap();
        connection.worker().process().kill();
        drop(connection);
        let shared = Arc::downgrade(&renderer.shared);
        drop(renderer);
        eventually(|| shared.strong_count() == 0 && !is_there(id) && !directory.exists());
    }
}
