//! Revalidations: in the background for stale-while-revalidate, and with a short wait for stale-if-error.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::make::MakeResult;
use super::variant::{CacheStatus, Variant, VariantError};
use super::{VariantRequest, Variants};
use crate::cache::{self, EncodedImage, Name};
use crate::edge::renderer::RenderError;
use crate::log::context;
use crate::metrics::VariantResult;
use crate::phases::Phases;

/// Maximum wait for a revalidation when a stale variant can be served instead.
const REVALIDATION_TIMEOUT: Duration = Duration::from_secs(1);
/// Stack size of a revalidation's thread. Pages that are never touched cost nothing.
const STACK_BYTES: usize = 256 << 10;

impl Variants {
    /// Revalidates a variant, and returns the stale copy if the origin fails.
    pub(super) fn revalidate(
        self: &Arc<Variants>,
        request: VariantRequest,
        not_before: u64,
        phases: &mut Phases,
    ) -> Result<Variant<Arc<EncodedImage>>, VariantError> {
        let begun = SystemTime::now();
        let result = match self.start_revalidation(request, not_before) {
            Some(revalidation) => {
                let received = revalidation.recv_timeout(REVALIDATION_TIMEOUT).ok();
                received.map(|(result, of_revalidation)| {
                    *phases = of_revalidation;
                    result
                })
            }
            None => {
                let call = (request.name.clone(), request.handler.epoch(not_before));
                let result = self.singleflight.join(&call, REVALIDATION_TIMEOUT);
                request.handler.metrics.coalesced.add(u64::from(result.is_some()));
                result
            }
        };
        if self.not_before(request.name) > not_before {
            // Purged meanwhile: neither the stale variant nor the result may be served.
            return self.make_missing(request, phases);
        }
        let error = match result {
            Some(Ok(made)) => return Ok(made.into_variant(begun)),
            Some(Err(error)) if !error.allows_stale() => return Err(error),
            Some(Err(error)) => error,
            None => RenderError::Overloaded.into(),
        };
        // A failure has been recorded already.
        if error.error == RenderError::Overloaded {
            request.handler.circuit_breaker.open(Instant::now());
        }
        self.find_stale(request, not_before).ok_or(error)
    }

    /// Finds the stale variant again. An entry on disk borrows its cache, so it can't be part of the [`Miss`].
    ///
    /// [`Miss`]: super::Miss
    fn find_stale(
        &self,
        request: VariantRequest,
        not_before: u64,
    ) -> Option<Variant<Arc<EncodedImage>>> {
        let now = SystemTime::now();
        let cached = self.find(request, not_before, now)?;
        let age = cache::age(cached.validated_at, now);
        let content = cached.content.read()?;
        Some(Variant { content, cache_status: CacheStatus::Stale, age, now })
    }

    /// Revalidates a variant on a thread of its own; the result may be received. `None` if that is not possible now.
    pub(super) fn start_revalidation(
        self: &Arc<Variants>,
        request: VariantRequest,
        not_before: u64,
    ) -> Option<Receiver<(MakeResult, Phases)>> {
        if self.renderer.is_full() {
            return None;
        }
        let guard = request.handler.revalidations.begin(request.name)?;
        if !request.handler.circuit_breaker.allow_attempt(Instant::now()) {
            return None;
        }
        let variants = Arc::clone(self);
        let handler = Arc::clone(request.handler);
        let name: Name = request.name.clone();
        let (sender, receiver) = channel();
        let ids = context::current();
        let revalidate = move || {
            let _guard = guard;
            let _scope = ids.map(context::enter);
            let mut phases = Phases::default();
            let result = variants.make_once(&handler, &name, not_before, &mut phases);
            let counted = match &result {
                Ok(made) if made.is_shared => VariantResult::Shared,
                Ok(made) if made.was_cached => VariantResult::Revalidated,
                Ok(_) => VariantResult::Rendered,
                Err(error) => {
                    handler.warn_stale(&name, &error.error);
                    VariantResult::Failed
                }
            };
            handler.metrics.revalidations.get(counted).add(1);
            // The receiver is usually gone.
            let _ = sender.send((result, phases));
        };
        // If no thread can be started, the next request tries again.
        thread::Builder::new()
            .name("revalidation".into())
            .stack_size(STACK_BYTES)
            .spawn(revalidate)
            .ok()?;
        Some(receiver)
    }
}
