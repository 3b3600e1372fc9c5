//! Renders the presets of `render_on_change` again, on threads of its own, so that no sender waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::edge::serve::running_config::{CurrentConfig, RunningConfig};
use crate::edge::variants::HandlerState;
use crate::log::warn_ratelimited;
use crate::metrics::{EventRender, METRICS};
use crate::sync::Mutex;

/// Maximum number of keys that wait. A key that finds the queue full is rendered when it is requested.
const MAX_WAITING: usize = 1024;
/// Threads: requests of clients come first.
const MAX_THREADS: usize = 2;
/// How long a key waits while the renderer's own queue is full, and how often it is looked at.
const OVERLOAD_TIMEOUT: Duration = Duration::from_secs(10);
const OVERLOAD_PAUSE: Duration = Duration::from_millis(50);
const STACK_BYTES: usize = 256 << 10;

/// For the life of the process: a key that waits is rendered under the configuration of that time.
#[derive(Debug)]
pub struct RenderQueue {
    state: Mutex<State>,
    current: Arc<CurrentConfig>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Changed>,
    threads: usize,
}

/// A key whose presets are to be rendered.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    route: String,
    key: String,
}

impl RenderQueue {
    pub fn new(current: &Arc<CurrentConfig>) -> RenderQueue {
        RenderQueue { state: Mutex::default(), current: Arc::clone(current) }
    }

    /// Adds a key, unless it waits already. `false` if there is no room.
    pub fn push(self: &Arc<RenderQueue>, route: &str, key: &str) -> bool {
        let changed = Changed { route: route.to_owned(), key: key.to_owned() };
        let mut state = self.state.lock();
        if state.waiting.contains(&changed) {
            return true;
        }
        if state.waiting.len() >= MAX_WAITING {
            METRICS.events.renders.get(EventRender::Dropped).add(1);
            return false;
        }
        state.waiting.push_back(changed);
        METRICS.events.renders_waiting.set(state.waiting.len() as u64);
        if state.threads < MAX_THREADS {
            self.start_thread(&mut state);
        }
        true
    }

    fn start_thread(self: &Arc<RenderQueue>, state: &mut State) {
        let queue = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("event-render".into())
            .stack_size(STACK_BYTES)
            // Only a thread that runs is counted when it ends.
            .spawn(move || Thread(queue).run());
        match spawned {
            Ok(_) => state.threads += 1,
            // The next key tries again.
            Err(error) => warn_ratelimited!("thread_failed", "can't start a thread: {error}"),
        }
    }

    fn pop(&self) -> Option<Changed> {
        let mut state = self.state.lock();
        let changed = state.waiting.pop_front();
        METRICS.events.renders_waiting.set(state.waiting.len() as u64);
        changed
    }

    fn render(&self, changed: &Changed) {
        let running = self.current.get();
        let route = |handler: &&Arc<HandlerState>| handler.config.route == changed.route;
        // A reload may have removed it.
        let Some(handler) = running.images.handlers().find(route) else { return };
        for options in handler.config.options_on_change(&changed.key) {
            let name = handler.caches.name(&changed.key, &options.canonical());
            let variants = running.images.variants();
            let result = if has_room(&running) && variants.rerender(handler, &name) {
                EventRender::Rendered
            } else {
                EventRender::Failed
            };
            METRICS.events.renders.get(result).add(1);
        }
    }
}

/// Waits while the renderer's queue is full. `false` after a timeout.
fn has_room(running: &RunningConfig) -> bool {
    let deadline = Instant::now() + OVERLOAD_TIMEOUT;
    while running.images.variants().renderer().is_full() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(OVERLOAD_PAUSE);
    }
    true
}

/// A thread, which ends when nothing waits.
struct Thread(Arc<RenderQueue>);

impl Thread {
    fn run(self) {
        while let Some(changed) = self.0.pop() {
            self.0.render(&changed);
        }
    }
}

// Also after a panic.
impl Drop for Thread {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads = state.threads.saturating_sub(1);
        // A key may have come after the last look at the queue, when this thread still counted.
        if !state.waiting.is_empty() && state.threads == 0 {
            self.0.start_thread(&mut state);
        }
    }
}
