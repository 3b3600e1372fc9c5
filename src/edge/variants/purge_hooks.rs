//! Calls the purge hooks of handlers. A purge only adds to a queue; one thread has the renderer send the requests, and
//! tries again what fails.
//!
//! The queues outlive renderers and reloads, so that no purge is lost with one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::hook_queue::HookQueue;
use super::{HandlerState, Variants};
use crate::cache_tag::PurgeScope;
use crate::check_interval::check_interval;
use crate::log::{RateLimited, error, warn};
use crate::metrics::{HandlerMetrics, HookResult};
use crate::sync::{Mutex, wait, wait_timeout};
use crate::wire::HookAnswer;

/// The delays after a failed attempt, in check intervals (seconds). After the attempt that follows the last one, its
/// purges are given up.
const DELAYS: [u32; 4] = [1, 4, 16, 60];

/// How long a stopping server waits for its purge hooks.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct PurgeHooks {
    state: Mutex<State>,
    changed: Condvar,
    retry_warning: RateLimited,
    full_warning: RateLimited,
}

#[derive(Debug, Default)]
struct State {
    /// By route.
    hooks: BTreeMap<String, Hook>,
    /// Of the current configuration, whose renderer sends the requests.
    variants: Weak<Variants>,
    /// The route whose turn was last.
    last: String,
    is_started: bool,
}

#[derive(Debug)]
struct Hook {
    queue: HookQueue,
    max_purges: usize,
    timeout: Duration,
    /// Zero: each purge is sent once.
    repeat_after: Duration,
    metrics: Arc<HandlerMetrics>,
}

/// An attempt to be made.
struct Attempt {
    route: String,
    scopes: Vec<PurgeScope>,
    timeout: Duration,
    variants: Arc<Variants>,
}

impl PurgeHooks {
    /// Takes over the hooks of a configuration. What waits for a hook that is still there stays; the rest is dropped.
    pub fn configure<'h>(
        self: &Arc<PurgeHooks>,
        variants: &Arc<Variants>,
        handlers: impl Iterator<Item = &'h Arc<HandlerState>>,
    ) {
        let mut state = self.state.lock();
        state.variants = Arc::downgrade(variants);
        let mut old = std::mem::take(&mut state.hooks);
        for HandlerState { config, metrics, .. } in handlers.map(Arc::as_ref) {
            let Some(hook) = &config.cdn.purge_hook else { continue };
            let queue = old.remove(&config.route).map(|hook| hook.queue).unwrap_or_default();
            let hook = Hook {
                queue,
                max_purges: hook.max_purges,
                timeout: hook.timeout,
                repeat_after: hook.repeat_after,
                metrics: Arc::clone(metrics),
            };
            state.hooks.insert(config.route.clone(), hook);
        }
        if !state.hooks.is_empty() && !state.is_started {
            let hooks = Arc::clone(self);
            let thread = thread::Builder::new().name("purge-hooks".into());
            match thread.spawn(move || hooks.run()) {
                Ok(_) => state.is_started = true,
                // The next reload tries again; until then purges wait.
                Err(error) => {
                    warn!("thread_failed", "can't start the thread of purge hooks: {error}")
                }
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Adds a purge that is in force.
    pub fn push(&self, route: &str, scope: PurgeScope) {
        let mut state = self.state.lock();
        let Some(hook) = state.hooks.get_mut(route) else { return };
        let repeat_at = (!hook.repeat_after.is_zero()).then(|| Instant::now() + hook.repeat_after);
        if hook.queue.push(scope, repeat_at) {
            self.full_warning.warn(
                "purge_hook_full",
                format_args!(
                    "{route}: too many purges wait for the purge hook: it purges the whole handler instead"
                ),
            );
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The purges that wait, by route.
    pub fn waiting(&self) -> Vec<(String, usize)> {
        let state = self.state.lock();
        state.hooks.iter().map(|(route, hook)| (route.clone(), hook.queue.length())).collect()
    }

    /// Waits until nothing waits, unless the server is in a hurry, and reports what has not been sent. `pause` waits a
    /// moment and returns whether the server is in a hurry now.
    pub fn stop(&self, is_hurried: bool, mut pause: impl FnMut() -> bool) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let waiting = || self.waiting().into_iter().filter(|(_, count)| *count > 0);
        let mut is_hurried = is_hurried;
        while !is_hurried && waiting().next().is_some() && Instant::now() < deadline {
            is_hurried = pause();
        }
        waiting().for_each(|(route, count)| give_up(&route, count, "the server stops"));
    }

    fn run(&self) {
        loop {
            let Attempt { route, scopes, timeout, variants } = self.next();
            let answer = match variants.renderer().send_hook(&route, &scopes, timeout) {
                Ok(answer) => answer,
                Err(sentence) => HookAnswer::Retry(sentence),
            };
            drop(variants);
            self.finish(&route, answer);
        }
    }

    /// Waits for a purge whose attempt is due.
    fn next(&self) -> Attempt {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let dues = state.hooks.values().filter_map(|hook| hook.queue.due(now));
            match dues.min() {
                None => state = wait(&self.changed, state),
                Some(due) if due > now => {
                    state = wait_timeout(&self.changed, state, due - now);
                }
                Some(_) => match state.take(now) {
                    Some(attempt) => return attempt,
                    // Between two configurations.
                    None => state = wait_timeout(&self.changed, state, check_interval()),
                },
            }
        }
    }

    fn finish(&self, route: &str, answer: HookAnswer) {
        let mut state = self.state.lock();
        // The hook may have been removed meanwhile.
        let Some(hook) = state.hooks.get_mut(route) else { return };
        let metrics = &hook.metrics.purge_hook;
        match answer {
            HookAnswer::Done => {
                hook.queue.finish();
                metrics.get(HookResult::Ok).add(1);
            }
            HookAnswer::Refused(sentence) => {
                let count = hook.queue.finish();
                metrics.get(HookResult::Failed).add(1);
                give_up(route, count, &sentence);
            }
            HookAnswer::Retry(sentence) => {
                let delay = |failures: u32| {
                    let index = failures.saturating_sub(1) as usize;
                    check_interval() * DELAYS.get(index).copied().unwrap_or_default()
                };
                if hook.queue.failures() as usize >= DELAYS.len() {
                    let count = hook.queue.finish();
                    metrics.get(HookResult::Failed).add(1);
                    give_up(route, count, &sentence);
                } else {
                    hook.queue.retry(Instant::now(), delay);
                    metrics.get(HookResult::Retried).add(1);
                    self.retry_warning.warn(
                        "purge_hook_retried",
                        format_args!("{route}: the purge hook is tried again: {sentence}"),
                    );
                }
            }
        }
    }
}

impl State {
    /// An attempt for the next route, in turn, that has one due.
    fn take(&mut self, now: Instant) -> Option<Attempt> {
        let variants = self.variants.upgrade()?;
        let is_due = |hook: &Hook| hook.queue.due(now).is_some_and(|due| due <= now);
        let due = |(route, hook): (&String, &Hook)| is_due(hook).then(|| route.clone());
        let after = self.hooks.iter().filter(|(route, _)| **route > self.last).find_map(due);
        let route = after.or_else(|| self.hooks.iter().find_map(due))?;
        let hook = self.hooks.get_mut(&route)?;
        let mut scopes = hook.queue.take(hook.max_purges, now);
        if hook.max_purges == usize::MAX {
            // The request is the same for all of them.
            scopes.truncate(1);
        }
        self.last.clone_from(&route);
        Some(Attempt { route, scopes, timeout: hook.timeout, variants })
    }
}

fn give_up(route: &str, count: usize, sentence: &str) {
    error!(
        "purge_hook_failed",
        "{route}: the purge hook failed, so the CDN may keep what {count} purges removed: {sentence}"
    );
}
