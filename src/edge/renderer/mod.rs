//! The renderer as the edge sees it: a fixed set of connections to a child process that may die at any time.
//!
//! A request that a dead renderer had is tried once more on the next one, unless it is what killed it.

mod blame;
mod connection;
mod folder;
mod generation;
mod ledger;
mod process;
mod pulse;
mod quarantine;
mod queue;
mod supervisor;
mod watch;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Made;
use crate::config::Limits;
use crate::error::{Code, Failure};
use crate::wire::Setup;
use blame::{Blame, Standing};
use connection::Lost;
pub use connection::Wanted;
pub use folder::PrivateFolder;
use quarantine::{Pass, Quarantine};
use queue::Queue;
use supervisor::{Event, Supervisor};

/// How long a request waits to be told whether it is to blame for its renderer's end. Without an answer it is not
/// proven.
const VERDICT_PATIENCE: Duration = Duration::from_secs(1);
/// So many renderers may be gone before they have a request that is not tried on another.
const MOST_UNSENT: u32 = 8;

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The picture failed.
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
    folder: Arc<PrivateFolder>,
    limits: Limits,
}

/// What the asking threads and the supervisor share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    blame: Arc<Blame>,
    quarantine: Quarantine,
}

/// What came of asking one renderer.
enum Attempt {
    /// It answered, or it is certain that the request is not to be tried again.
    Over(Result<Made, Failure>),
    /// It was gone before it had the request.
    NotSent(io::Error),
    /// It could not, and the next one may be able to: folders and files are others than when it started.
    Outdated(Failure),
    /// It ended, and not because of this request as far as is known.
    Lost(String),
}

impl Renderer {
    /// Starts the first renderer and keeps one running from then on.
    pub fn start(setup: Setup, limits: &Limits) -> io::Result<Renderer> {
        let folder = Arc::new(PrivateFolder::create()?);
        let shared = Arc::new(Shared {
            queue: Queue::new(limits.queue_length),
            blame: Arc::default(),
            quarantine: Quarantine::new(limits.queue_length),
        });
        let (events, received) = channel();
        let supervisor =
            Supervisor::new(Arc::clone(&folder), setup, limits, Arc::clone(&shared), events.clone());
        let (started, first) = channel();
        // Every renderer ends with the thread that starts it, so this one starts them all, from the first one on.
        thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervisor.run(&received, |result| drop(started.send(result))))?;
        first.recv().unwrap_or_else(|_| Err(io::Error::other("the supervisor ended")))?;
        Ok(Renderer { shared, events, folder, limits: limits.clone() })
    }

    /// What would outlive the process; the renderer itself ends with it.
    pub fn folder(&self) -> &Arc<PrivateFolder> {
        &self.folder
    }

    /// The longest time that [`Renderer::ask`] can take.
    pub fn longest_ask(&self) -> Duration {
        (self.limits.queue_timeout + self.limits.render_timeout) * 2 + VERDICT_PATIENCE
    }

    /// Whether a question that came now would be [`Trouble::Overloaded`] at once.
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Asks for a path and canonical query, waiting for a free connection as long as the limits say.
    pub fn ask(&self, wanted: Wanted) -> Result<Made, Trouble> {
        self.ask_within(wanted, self.limits.queue_timeout)
    }

    /// [`Renderer::ask`] with a patience of one's own for a free connection.
    pub fn ask_within(&self, wanted: Wanted, patience: Duration) -> Result<Made, Trouble> {
        let target = wanted.target;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let mut deadline = Instant::now() + patience;
        let (mut unsent, mut lost, mut outdated) = (0, false, false);
        loop {
            match self.attempt(wanted, path, deadline)? {
                Attempt::Over(answer) => return answer.map_err(Trouble::Failure),
                Attempt::NotSent(_) if unsent < MOST_UNSENT => unsent += 1,
                Attempt::Outdated(_) if !outdated => outdated = true,
                Attempt::Outdated(failure) => return Err(Trouble::Failure(failure)),
                Attempt::Lost(_) if !lost => {
                    lost = true;
                    deadline = Instant::now() + patience;
                }
                Attempt::NotSent(error) => {
                    let detail = format!("one renderer after the other ended before it was asked: {error}");
                    return Err(failure(Code::RendererFailed, detail));
                }
                Attempt::Lost(how) => {
                    let detail = format!("a second renderer ended while it worked on this ({how})");
                    return Err(failure(Code::RendererFailed, detail));
                }
            }
        }
    }

    /// Asks one renderer.
    fn attempt(&self, wanted: Wanted, path: &str, deadline: Instant) -> Result<Attempt, Trouble> {
        let _pass = self.admit(path, deadline)?;
        let mut connection = self.shared.queue.take(deadline).ok_or(Trouble::Overloaded)?;
        let generation = Arc::clone(connection.generation());
        let ledger = generation.ledger();
        let ticket = ledger.open(path);
        let lost = match connection.ask(wanted, ticket, self.limits.render_timeout) {
            Ok(said) => {
                ledger.close(ticket);
                match &said.result {
                    Ok(_) => self.shared.blame.clear(path),
                    Err(failure) if failure.code == Code::DecodeTimeout => self.overdue(path),
                    Err(_) => {}
                }
                self.shared.queue.give_back(connection);
                if said.is_outdated {
                    let _ = self.events.send(Event::Outdated(generation.number()));
                }
                if generation.count_answer() == self.limits.renderer_max_renders {
                    let _ = self.events.send(Event::Look);
                }
                return Ok(match said.result {
                    // The next one may well have it; nobody is to ask this one meanwhile.
                    Err(failure) if said.is_outdated => {
                        self.shared.queue.forget(generation.number());
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
        self.shared.queue.forget(generation.number());
        let _ = self.events.send(Event::Lost(generation.number()));
        let error = match lost {
            Lost::NotSent(error) => {
                ledger.close(ticket);
                return Ok(Attempt::NotSent(error));
            }
            Lost::NotAnswered(error) => error,
        };
        Ok(match error.kind() {
            ErrorKind::TimedOut => {
                if ledger.abandon(ticket) {
                    self.overdue(path);
                }
                Attempt::Over(Err(Failure::new(Code::RenderTimeout, "the renderer did not answer in time")))
            }
            // It answered, but not as it should, and would do so again.
            ErrorKind::InvalidData => {
                ledger.close(ticket);
                Attempt::Over(Err(Failure::new(Code::RendererFailed, error.to_string())))
            }
            _ => {
                let verdict = ledger.verdict(VERDICT_PATIENCE);
                ledger.close(ticket);
                match verdict {
                    Some(verdict) if verdict.guilty.contains(&ticket) => {
                        let detail = format!("the renderer ended while it decoded this ({})", verdict.how);
                        Attempt::Over(Err(Failure::new(Code::RendererFailed, detail)))
                    }
                    Some(verdict) => Attempt::Lost(verdict.how),
                    None => Attempt::Lost(error.to_string()),
                }
            }
        })
    }

    /// The work on this path took too long.
    fn overdue(&self, path: &str) {
        if self.shared.blame.overdue(path, Instant::now()) {
            watch::report_refusal(path);
        }
    }

    /// Refuses a path that ends renderers. One that may be such goes alone for as long as it holds the pass.
    fn admit(&self, path: &str, deadline: Instant) -> Result<Option<Pass<'_>>, Trouble> {
        let mut pass = None;
        loop {
            match self.shared.blame.standing(path, Instant::now()) {
                Standing::Clear => return Ok(None),
                Standing::Suspect if pass.is_some() => return Ok(pass),
                Standing::Suspect => {
                    pass = Some(self.shared.quarantine.enter(deadline).ok_or(Trouble::Overloaded)?);
                }
                Standing::Refused => {
                    let detail =
                        "renderers have ended or hung because of this key, so it is not tried for now";
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

fn failure(code: Code, detail: impl Into<String>) -> Trouble {
    Trouble::Failure(Failure::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Handler};
    use std::path::Path;

    const TARGET: &str = "/h/error_image.jpg?w=20";

    fn start() -> Renderer {
        let text =
            format!(r#"{{"handlers": [{{"name": "h", "directory": {:?}}}]}}"#, env!("CARGO_MANIFEST_DIR"));
        let config = config::parse(&text, "test").unwrap();
        let resolved = config.handlers.iter().map(Handler::resolved).collect();
        Renderer::start(Setup { text, resolved }, &config.limits).unwrap()
    }

    fn process(renderer: &Renderer) -> u32 {
        let connection = renderer.shared.queue.take(Instant::now() + Duration::from_secs(20)).unwrap();
        let id = connection.generation().process().id();
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
            renderer.ask(Wanted::anything(TARGET)).unwrap();
        }
        let folder = one.folder.socket(0).parent().unwrap().to_owned();
        let supervisor_has_left = Arc::downgrade(&one.shared);
        drop(one);
        eventually(|| !is_there(ids[0]) && !folder.exists());
        eventually(|| supervisor_has_left.strong_count() == 0);
        assert!(is_there(ids[1]));
        two.ask(Wanted::anything(TARGET)).unwrap();
    }

    #[test]
    fn one_that_was_dropped_while_it_has_no_renderer_does_not_start_another() {
        let renderer = start();
        let (id, folder) = (process(&renderer), renderer.folder.socket(0).parent().unwrap().to_owned());
        let connection = renderer.shared.queue.take(Instant::now()).unwrap();
        connection.generation().process().kill();
        drop(connection);
        let shared = Arc::downgrade(&renderer.shared);
        drop(renderer);
        eventually(|| shared.strong_count() == 0 && !is_there(id) && !folder.exists());
    }
}
