//! The part of a request that is about shared results: the lookup before the work, and the upload after it.

use std::sync::Arc;
use std::time::SystemTime;

use super::{OpenHandler, Revalidation, Service};
use crate::cache::{EntryId, Freshness, Name, OriginalEntry, Rendered, SharedEntry};
use crate::config::{Handler, Limits};
use crate::error::Failure;
use crate::log::warn;
use crate::options::Options;
use crate::phases::Phases;
use crate::render::journal::Journal;
use crate::render::originals::{OriginalResponse, SharedOriginal};
use crate::render::results::Results;
use crate::time::unix_milliseconds;
use crate::wire::NotBefore;

/// The shared results of a handler. A bucket that can't be used does not prevent the start.
pub(super) fn open_results(
    handler: &Handler,
    limits: &Limits,
    journal: Option<&Arc<Journal>>,
) -> Option<Arc<Results>> {
    let config = handler.results.as_ref()?;
    match Results::open(config, handler, limits, Arc::clone(journal?)) {
        Ok(results) => Some(Arc::new(results)),
        Err(failure) => {
            warn!("shared_results_failed", "no shared results: {failure}");
            None
        }
    }
}

impl OpenHandler {
    /// Whether the variant with these options is shared.
    pub(super) fn shares(&self, options: &Options) -> bool {
        let Handler { size_policy, .. } = &self.config;
        self.results.is_some() && size_policy.shares(options, self.config.defaults())
    }
}

impl Service {
    /// Looks a variant up in the results bucket, and revalidates it unless it is fresh, as if it were in the cache.
    pub(super) fn find_shared(
        &self,
        handler: &OpenHandler,
        name: &Name,
        not_before: NotBefore,
        phases: &mut Phases,
    ) -> Result<Revalidation, Failure> {
        let Some(results) = &handler.results else { return Ok(Revalidation::Impossible) };
        let (found, lookup) = results.find(name, not_before);
        phases.shared = lookup;
        // Another server may pass through more types.
        let is_allowed = |found: &SharedEntry| handler.config.as_is.allows(found.image.media_type);
        let Some(found) = found.filter(is_allowed) else { return Ok(Revalidation::Impossible) };
        let validated_at = unix_milliseconds(found.validated_at);
        let lifetime = handler.config.lifetime();
        let freshness = lifetime.freshness(EntryId::of(name), validated_at, SystemTime::now());
        match freshness {
            // The edge revalidates what it serves stale.
            Freshness::Fresh | Freshness::StaleWhileRevalidate => {
                return Ok(Revalidation::Valid(self.keep_shared(handler, name, found)));
            }
            Freshness::StaleIfError | Freshness::MustRevalidate => {}
        }
        let validator = found.validator.clone();
        if validator.etag.is_none() {
            return Ok(Revalidation::Impossible);
        }
        match handler.originals.get_if_changed(&name.key, validator, not_before.time, phases) {
            Ok(OriginalResponse::Original(original)) => Ok(Revalidation::Changed(original)),
            Ok(OriginalResponse::NotModified { validated_at, entry }) => {
                let renewed = SharedEntry { validated_at, ..found };
                Ok(self.keep_renewed(handler, name, renewed, entry))
            }
            Err(failure) if freshness == Freshness::StaleIfError && failure.code.allows_stale() => {
                Ok(Revalidation::Valid(self.keep_shared(handler, name, found)))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Looks up what another server has made of an original that has changed, unless the bucket was asked already.
    pub(super) fn find_shared_of(
        &self,
        handler: &OpenHandler,
        name: &Name,
        original: &SharedOriginal,
        phases: &mut Phases,
    ) -> Option<Rendered> {
        let results = handler.results.as_ref().filter(|_| phases.shared.is_none())?;
        let validator = original.original.validator();
        validator.etag.as_ref()?;
        let (found, lookup) = results.find(name, NotBefore::default());
        phases.shared = lookup;
        let found = found.filter(|found| {
            let is_allowed = handler.config.as_is.allows(found.image.media_type);
            found.validator == validator && is_allowed
        })?;
        let renewed = SharedEntry { validated_at: original.validated_at, ..found };
        let rendered = self.keep_shared(handler, name, renewed);
        Some(Rendered { original: original.entry, ..rendered })
    }

    /// Stores a shared result in the cache, and answers with it.
    fn keep_shared(&self, handler: &OpenHandler, name: &Name, found: SharedEntry) -> Rendered {
        let has_room = self.has_room(handler, name);
        let disk_bytes = if has_room { self.store(handler, name, &found) } else { None };
        Rendered {
            disk_bytes,
            validated_at: unix_milliseconds(found.validated_at),
            image: found.image,
            revalidated: false,
            shared: true,
            original: OriginalEntry::None,
        }
    }

    /// Stores a shared result that the origin has confirmed, here and for the other servers.
    fn keep_renewed(
        &self,
        handler: &OpenHandler,
        name: &Name,
        renewed: SharedEntry,
        original: OriginalEntry,
    ) -> Revalidation {
        let mut disk_bytes = None;
        if self.has_room(handler, name) {
            disk_bytes = self.store(handler, name, &renewed);
        }
        if let (Some(results), Some(uploads)) = (&handler.results, &self.uploads) {
            results.upload_later(uploads, name, &renewed);
        }
        Revalidation::Valid(Rendered {
            disk_bytes,
            validated_at: unix_milliseconds(renewed.validated_at),
            image: renewed.image,
            revalidated: true,
            shared: false,
            original,
        })
    }

    /// Uploads a variant behind the answer, if making it took long enough.
    pub(super) fn share(
        &self,
        handler: &OpenHandler,
        name: &Name,
        made: &SharedEntry,
        phases: &Phases,
    ) {
        if let (Some(results), Some(uploads)) = (&handler.results, &self.uploads)
            && results.wants(phases.decode + phases.encode, made.image.bytes.len())
        {
            results.upload_later(uploads, name, made);
        }
    }
}
