//! The client of the renderer. A request whose worker exits is sent to the next worker once, unless it caused the exit.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, ConnectionLost, RenderRequest, RendererResponse};
use super::crash_tracker::{Suspicion, Tracked, path_of};
use super::exit_watch::log_too_slow;
use super::quarantine::Pass;
use super::shared::Shared;
use super::socket_directory::SocketDirectory;
use super::supervisor::{Event, Supervisor};
use super::worker::Worker;
use crate::cache::Rendered;
use crate::cache_tag::PurgeScope;
use crate::config::{JournalConnections, Limits};
use crate::error::{Code, Failure};
use crate::key;
use crate::metrics::METRICS;
use crate::phases::Phases;
use crate::renderer_status::RendererStatus;
use crate::wire::{self, HookAnswer, Setup};

/// How long a request waits for the crash report of its worker. Without a report, the request does not count as the
/// cause.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the renderer may take for its part in a purge hook.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How many workers in a row may exit before a request was sent to them, or be outdated.
const MAX_UNUSABLE: u32 = 8;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    Failure(Failure),
    /// The queue is full, or the request waited too long for a connection.
    Overloaded,
}

/// Sends requests to the current worker. Renderers are independent of each other, each with workers of its own;
/// dropping one ends its workers.
#[derive(Debug)]
pub struct Renderer {
    pub(super) shared: Arc<Shared>,
    events: Sender<Event>,
    /// The directory of the sockets, which would outlive the edge if it were not removed.
    pub directory: Arc<SocketDirectory>,
    limits: Limits,
}

/// The outcome of sending a request to one worker.
enum Attempt {
    /// Answered, or failed in a way that a retry would not change.
    Done(Result<Rendered, Failure>),
    /// The worker exited before the request was sent.
    NotSent(io::Error),
    /// The worker's sandbox is outdated, which may be the cause of the failure; the next worker may succeed.
    Outdated(Failure),
    /// The worker exited while it had the request, which is not known to be the cause.
    WorkerLost(String),
}

impl Renderer {
    /// Starts the first worker, and a supervisor that keeps one running.
    pub fn start(
        setup: Setup,
        limits: &Limits,
        reserved: JournalConnections,
    ) -> io::Result<Renderer> {
        let directory = Arc::new(SocketDirectory::create()?);
        let shared = Arc::new(Shared::new(limits.queue_length));
        let (events, receiver) = channel();
        let supervisor = Supervisor::new(
            Arc::clone(&directory),
            setup,
            limits,
            reserved,
            Arc::clone(&shared),
            events.clone(),
        );
        let (started, first) = channel();
        // A worker dies with the thread that started it (PR_SET_PDEATHSIG), so one thread starts all of them.
        thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervisor.run(&receiver, |result| drop(started.send(result))))?;
        first.recv().unwrap_or_else(|_| Err(io::Error::other("the supervisor ended")))?;
        Ok(Renderer { shared, events, directory, limits: limits.clone() })
    }

    /// The longest time that [`Renderer::render`] can take.
    pub fn max_render_time(&self) -> Duration {
        (self.limits.queue_timeout + self.limits.render_timeout) * 2 + REPORT_TIMEOUT
    }

    /// The checks so far that found the current worker healthy: one a second, unless it does not answer.
    pub fn heartbeats(&self) -> u64 {
        self.shared.heartbeats.load(Ordering::Relaxed)
    }

    /// Whether a new request would be [`RenderError::Overloaded`] at once.
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// What the renderer told of itself in its latest answer to a ping, a few seconds ago. `None` while there is no
    /// renderer or it does not answer.
    pub fn status(&self) -> Option<Arc<RendererStatus>> {
        self.shared.status.lock().clone()
    }

    /// The number of requests that wait for a connection.
    pub fn queue_length(&self) -> usize {
        self.shared.queue.length()
    }

    /// How much crashed the renderer or exceeded a timeout once, and how much is blocked.
    pub fn crash_tracked(&self) -> (usize, usize) {
        self.shared.crash_tracker.count(Instant::now())
    }

    /// Renders an image; waits at most `queue_timeout` for a free connection. `phases` gets the times of the phases that
    /// the request has reached, also if it fails.
    pub fn render(
        &self,
        request: RenderRequest,
        phases: &mut Phases,
    ) -> Result<Rendered, RenderError> {
        self.render_within(request, self.limits.queue_timeout, phases)
    }

    /// [`Renderer::render`] with another timeout for the wait for a free connection.
    pub fn render_within(
        &self,
        request: RenderRequest,
        queue_timeout: Duration,
        phases: &mut Phases,
    ) -> Result<Rendered, RenderError> {
        let mut deadline = Instant::now() + queue_timeout;
        let mut unusable = 0;
        let mut lost_worker = false;
        loop {
            match self.attempt(request, deadline, phases)? {
                Attempt::Done(result) => return result.map_err(RenderError::Failure),
                Attempt::NotSent(_) | Attempt::Outdated(_) if unusable < MAX_UNUSABLE => {
                    unusable += 1;
                }
                Attempt::NotSent(error) => {
                    let detail =
                        format!("every renderer exited before the request was sent: {error}");
                    return Err(failure(Code::RendererFailed, detail));
                }
                Attempt::Outdated(failure) => return Err(RenderError::Failure(failure)),
                Attempt::WorkerLost(_) if !lost_worker => {
                    lost_worker = true;
                    deadline = Instant::now() + queue_timeout;
                }
                Attempt::WorkerLost(how) => {
                    let detail = format!("two renderers exited during this request ({how})");
                    return Err(failure(Code::RendererFailed, detail));
                }
            }
        }
    }

    /// The first keys of a handler, and whether these are all. `None` if the renderer is too busy or fails.
    pub fn keys(&self, route: &str) -> Option<(Vec<String>, bool)> {
        let target = key::to_path("-", route).replacen("/-/", wire::KEYS_PATH, 1);
        let deadline = Instant::now() + self.limits.queue_timeout;
        let mut connection = self.shared.queue.take(deadline)?;
        let worker = Arc::clone(&connection.worker);
        match connection.keys(&target, self.limits.render_timeout) {
            Ok(mut keys) => {
                self.shared.queue.give_back(connection);
                let is_complete = keys.len() <= wire::MAX_KEYS;
                keys.truncate(wire::MAX_KEYS);
                Some((keys, is_complete))
            }
            Err(_) => {
                drop(connection);
                self.abandon(&worker);
                None
            }
        }
    }

    /// Has the purge hook of a handler sent, which may take `timeout`. It has a connection of its own, so that it waits for
    /// no image, and no image for it. An error is a sentence.
    pub fn send_hook(
        &self,
        route: &str,
        scopes: &[PurgeScope],
        timeout: Duration,
    ) -> Result<HookAnswer, String> {
        let worker = self.shared.worker.lock().upgrade().ok_or("there is no renderer")?;
        let target = key::to_path("-", route).replacen("/-/", wire::HOOK_PATH, 1);
        let opened = Connection::open(&worker.socket, &worker, HOOK_TIMEOUT);
        let sent = opened.and_then(|(mut connection, _)| {
            Ok(connection.send_hook(&target, scopes, timeout + HOOK_TIMEOUT)?)
        });
        sent.map_err(|error| format!("the renderer: {error}"))
    }

    /// Has the renderer ask SNS ([`wire::SNS_CERTIFICATE_PATH`], [`wire::SNS_CONFIRM_PATH`]). An error is a sentence.
    pub fn ask_sns(&self, target: &str) -> Result<Vec<u8>, String> {
        const TIMEOUT: Duration = wire::SNS_TIMEOUT.saturating_add(Duration::from_secs(2));
        let deadline = Instant::now() + self.limits.queue_timeout.min(TIMEOUT);
        let taken = self.shared.queue.take(deadline);
        let mut connection = taken.ok_or("the server is overloaded, try again later")?;
        let worker = Arc::clone(&connection.worker);
        match connection.ask(target, TIMEOUT) {
            Ok(answer) => {
                self.shared.queue.give_back(connection);
                answer
            }
            Err(lost) => {
                drop(connection);
                self.abandon(&worker);
                Err(format!("the renderer failed: {}", io::Error::from(lost)))
            }
        }
    }

    /// What crashed a renderer or exceeded a timeout recently.
    pub fn crashes(&self) -> Vec<Tracked> {
        self.shared.crash_tracker.tracked(Instant::now())
    }

    /// A worker needs all of its connections, and one that failed to answer gets no further request. Its other requests
    /// may still be answered.
    pub(super) fn abandon(&self, worker: &Worker) {
        self.shared.uninstall(worker.number);
        let _ = self.events.send(Event::ConnectionLost(worker.number));
    }

    /// Sends the request to the current worker.
    fn attempt(
        &self,
        request: RenderRequest,
        deadline: Instant,
        phases: &mut Phases,
    ) -> Result<Attempt, RenderError> {
        let started = Instant::now();
        let target = request.target;
        let _pass = self.check_target(target, deadline)?;
        let connection = self.shared.queue.take(deadline);
        let waited = started.elapsed();
        METRICS.renderer.queue_wait.observe(waited);
        phases.queue += waited;
        let mut connection = connection.ok_or(RenderError::Overloaded)?;
        let worker = Arc::clone(&connection.worker);
        let _in_flight = METRICS.renderer.requests.hold();
        let id = worker.in_flight.insert(path_of(target));
        match connection.render(request, id, self.limits.render_timeout) {
            Ok(response) => {
                worker.in_flight.remove(id);
                METRICS.renderer.count_render(&response.phases);
                *phases = Phases { queue: phases.queue, ..response.phases.clone() };
                self.track_result(target, &response.result);
                self.shared.queue.give_back(connection);
                Ok(self.finish(&worker, response))
            }
            Err(lost) => {
                drop(connection);
                self.abandon(&worker);
                Ok(self.explain(lost, &worker, target, id))
            }
        }
    }

    fn track_result(&self, target: &str, result: &Result<Rendered, Failure>) {
        match result {
            Ok(_) => self.shared.crash_tracker.clear(target),
            Err(failure) if failure.code == Code::DecodeTimeout => self.track_timeout(target),
            Err(_) => {}
        }
    }

    fn track_timeout(&self, target: &str) {
        if self.shared.crash_tracker.record_timeout(target, Instant::now()) {
            log_too_slow(target);
        }
    }

    /// Tells the supervisor when an answer means that the worker should be replaced.
    fn finish(&self, worker: &Worker, response: RendererResponse) -> Attempt {
        if response.is_outdated {
            let _ = self.events.send(Event::Outdated(worker.number));
        }
        if worker.count_answer() == self.limits.renderer_max_renders {
            let _ = self.events.send(Event::LimitReached);
        }
        match response.result {
            Err(failure) if response.is_outdated => {
                // The retry must go to the next worker.
                self.shared.uninstall(worker.number);
                Attempt::Outdated(failure)
            }
            result => Attempt::Done(result),
        }
    }

    /// Why a connection was lost, and whether the request may be retried.
    fn explain(&self, lost: ConnectionLost, worker: &Worker, target: &str, id: u64) -> Attempt {
        let in_flight = &worker.in_flight;
        let error = match lost {
            ConnectionLost::NotSent(error) => {
                in_flight.remove(id);
                return Attempt::NotSent(error);
            }
            ConnectionLost::NotAnswered(error) => error,
        };
        match error.kind() {
            ErrorKind::TimedOut => {
                if in_flight.abandon(id) {
                    self.track_timeout(target);
                }
                let detail = "the renderer did not answer in time";
                Attempt::Done(Err(Failure::new(Code::RenderTimeout, detail)))
            }
            // A malformed response: a retry would get the same.
            ErrorKind::InvalidData => {
                in_flight.remove(id);
                Attempt::Done(Err(Failure::new(Code::RendererFailed, error.to_string())))
            }
            _ => {
                let report = in_flight.wait_for_report(REPORT_TIMEOUT);
                in_flight.remove(id);
                match report {
                    Some(report) if report.culprits.contains(&id) => {
                        let detail =
                            format!("the renderer exited while it decoded this ({})", report.how);
                        Attempt::Done(Err(Failure::new(Code::RendererFailed, detail)))
                    }
                    Some(report) => Attempt::WorkerLost(report.how),
                    None => Attempt::WorkerLost(error.to_string()),
                }
            }
        }
    }

    /// Fails for what is blocked, and waits for the quarantine with a suspect.
    fn check_target(
        &self,
        target: &str,
        deadline: Instant,
    ) -> Result<Option<Pass<'_>>, RenderError> {
        let mut pass = None;
        loop {
            match self.shared.crash_tracker.suspicion(target, Instant::now()) {
                Suspicion::Clear => return Ok(None),
                Suspicion::Suspect if pass.is_some() => return Ok(pass),
                Suspicion::Suspect => {
                    let entered = self.shared.quarantine.enter(deadline);
                    pass = Some(entered.ok_or(RenderError::Overloaded)?);
                }
                Suspicion::Blocked => {
                    let detail = "this key crashed the renderer twice and is blocked for now";
                    return Err(failure(Code::CrashesRenderer, detail));
                }
                Suspicion::TooSlow => {
                    let detail = "this key exceeded a timeout twice with these options, which \
                        are blocked for now";
                    return Err(failure(Code::CrashesRenderer, detail));
                }
            }
        }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        // The supervisor ends the workers on its own thread.
        let _ = self.events.send(Event::Stop);
    }
}

fn failure(code: Code, detail: impl Into<String>) -> RenderError {
    RenderError::Failure(Failure::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Handler};
    use crate::machine;
    use std::path::Path;

    const TARGET: &str = "/h/error_image.jpg?w=20";

    fn start() -> Renderer {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": {:?}}}]}}"#,
            env!("CARGO_MANIFEST_DIR")
        );
        let config = config::parse(&text, "test").unwrap();
        let resolved = config.handlers.iter().map(Handler::resolved).collect();
        let environment = Environment::default();
        let setup = Setup { text, environment, machine: machine::current(), resolved };
        Renderer::start(setup, &config.limits, config.journal_connections()).unwrap()
    }

    fn process_id(renderer: &Renderer) -> u32 {
        let connection =
            renderer.shared.queue.take(Instant::now() + Duration::from_secs(20)).unwrap();
        let id = connection.worker.process.id();
        renderer.shared.queue.give_back(connection);
        id
    }

    fn socket_directory(renderer: &Renderer) -> std::path::PathBuf {
        renderer.directory.socket(0).parent().unwrap().to_owned()
    }

    fn eventually(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn exists(process: u32) -> bool {
        Path::new(&format!("/proc/{process}")).exists()
    }

    #[test]
    fn renderers_are_independent_and_dropping_one_ends_its_worker() {
        let first = start();
        let second = start();
        let [first_id, second_id] = [&first, &second].map(process_id);
        for renderer in [&first, &second] {
            renderer.render(RenderRequest::new(TARGET), &mut Phases::default()).unwrap();
        }
        let directory = socket_directory(&first);
        let shared = Arc::downgrade(&first.shared);
        drop(first);
        eventually(|| !exists(first_id) && !directory.exists());
        eventually(|| shared.strong_count() == 0);
        assert!(exists(second_id));
        let mut phases = Phases::default();
        second.render(RenderRequest::new(TARGET), &mut phases).unwrap();
        assert!(phases.fetch.is_some() && !phases.decode.is_zero(), "{phases:?}");
        assert!(!phases.encode.is_zero() && phases.output.is_some(), "{phases:?}");
        eventually(|| second.status().is_some_and(|status| status.permits > 0));
    }

    #[test]
    fn a_renderer_dropped_while_its_worker_is_dead_starts_no_other_worker() {
        let renderer = start();
        let id = process_id(&renderer);
        let directory = socket_directory(&renderer);
        let connection = renderer.shared.queue.take(Instant::now()).unwrap();
        connection.worker.process.kill();
        drop(connection);
        let shared = Arc::downgrade(&renderer.shared);
        drop(renderer);
        eventually(|| shared.strong_count() == 0 && !exists(id) && !directory.exists());
    }
}
