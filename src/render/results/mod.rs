//! Shared results: variants that several servers keep in one bucket (`results`). What a server does not have in its
//! cache, it looks up there before it makes it; what it has made, it uploads behind the answer.
//!
//! The bucket is never needed: a lookup may take `results_timeout`, a [`Breaker`] leaves lookups and uploads out while
//! they fail, and a full queue drops uploads. What is found is verified like an entry on disk.

mod breaker;
mod probe;
mod uploads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use self::breaker::Breaker;
use super::journal::Journal;
use super::result_object::{self, Metadata};
use super::s3::{Bucket, Deadline, Role};
use crate::cache::{CacheTime, EntryId, Name, SharedEntry};
use crate::config::{Handler, Limits, Results as ResultsConfig};
use crate::error::{Code, Failure};
use crate::log::RateLimited;
use crate::phases::{SharedLookup, SharedOutcome};
use crate::renderer_status::{CredentialsStatus, ResultsStatus};
use crate::time::{milliseconds, system_time, unix_milliseconds};
use crate::wire::NotBefore;

pub use probe::probe;
pub use uploads::Uploads;

/// The largest image that is shared, in bytes.
const MAX_IMAGE: u64 = 16 << 20;
/// For one upload, its second attempt included.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the clock of another server may be ahead. A result from later than that is revalidated.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// The shared results of one handler.
pub struct Results {
    bucket: Bucket,
    /// The purges that results must not be from before.
    journal: Arc<Journal>,
    route: String,
    config: ResultsConfig,
    cache_time: CacheTime,
    lookups: Breaker,
    puts: Breaker,
    counts: Counts,
    lookup_warning: RateLimited,
    damage_warning: RateLimited,
    upload_warning: RateLimited,
}

/// Uploads since the start.
#[derive(Debug, Default)]
struct Counts {
    uploaded: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// What a lookup has found, and what it took; `None` if it was left out.
pub type Lookup = (Option<SharedEntry>, Option<SharedLookup>);

impl Results {
    /// Prepares to use a handler's results bucket; sends nothing.
    ///
    /// # Errors
    ///
    /// See [`Bucket::open`].
    pub fn open(
        config: &ResultsConfig,
        handler: &Handler,
        limits: &Limits,
        journal: Arc<Journal>,
    ) -> Result<Results, Failure> {
        Ok(Results {
            bucket: Bucket::open(&config.bucket, Role::Results, limits)?,
            journal,
            route: handler.route.clone(),
            config: config.clone(),
            cache_time: handler.cache_time,
            lookups: Breaker::default(),
            puts: Breaker::default(),
            counts: Counts::default(),
            lookup_warning: RateLimited::default(),
            damage_warning: RateLimited::default(),
            upload_warning: RateLimited::default(),
        })
    }

    /// Looks up a result that was validated after `not_before` and after the purges of all servers. Waits at most
    /// `results_timeout`.
    pub fn find(&self, name: &Name, not_before: NotBefore) -> Lookup {
        let started = Instant::now();
        if !self.lookups.allows(started) {
            return (None, None);
        }
        let deadline = Deadline::after(self.config.timeout, "results_timeout");
        let key = result_object::key(EntryId::of(name));
        let found = self.bucket.get_stored(&key, MAX_IMAGE, deadline);
        let took = started.elapsed();
        let (entry, outcome) = match found {
            Ok(stored) => {
                let mark = result_object::mark(&stored).unwrap_or_default();
                self.verify(name, not_before, mark, result_object::decode(name, stored))
            }
            Err(Failure { code: Code::NotFound, .. }) => (None, SharedOutcome::Miss),
            Err(Failure { code: Code::TooLarge, detail }) => {
                self.warn_damaged(&detail);
                (None, SharedOutcome::Damaged)
            }
            Err(failure) => {
                self.lookup_failed(&failure);
                (None, SharedOutcome::Failed)
            }
        };
        self.lookups.record(outcome != SharedOutcome::Failed, Instant::now());
        let bytes = entry.as_ref().map_or(0, |entry| entry.image.bytes.len() as u64);
        (entry, Some(SharedLookup { took, bytes, outcome }))
    }

    fn verify(
        &self,
        name: &Name,
        not_before: NotBefore,
        mark: u64,
        decoded: std::io::Result<SharedEntry>,
    ) -> (Option<SharedEntry>, SharedOutcome) {
        let now = SystemTime::now();
        let allowed = decoded.map(|entry| {
            let entry = not_from_the_future(entry, now);
            if self.journal.allows(name, mark) { after(not_before, mark, entry) } else { None }
        });
        match allowed {
            Ok(Some(entry)) => (Some(entry), SharedOutcome::Hit),
            // From before a purge.
            Ok(None) => (None, SharedOutcome::Miss),
            Err(error) => {
                let key = result_object::key(EntryId::of(name));
                self.warn_damaged(&format!("{key:?} in bucket {}: {error}", self.bucket_name()));
                (None, SharedOutcome::Damaged)
            }
        }
    }

    fn bucket_name(&self) -> &str {
        &self.config.bucket.bucket
    }

    fn warn_damaged(&self, sentence: &str) {
        self.damage_warning
            .warn("shared_result_damaged", format_args!("{sentence}; making it again"));
    }

    fn lookup_failed(&self, failure: &Failure) {
        self.lookup_warning.warn(
            "shared_results_failed",
            format_args!("/{}/: no shared results: {}", self.route, failure.detail),
        );
    }

    /// Whether a variant that took so long to decode and encode is uploaded.
    pub fn wants(&self, render_time: Duration, image_bytes: usize) -> bool {
        render_time >= self.config.min_render_time && image_bytes as u64 <= MAX_IMAGE
    }

    /// Queues an upload, or drops it.
    pub fn upload_later(self: &Arc<Results>, uploads: &Uploads, name: &Name, entry: &SharedEntry) {
        if !uploads.submit(self, name, entry) {
            self.drop_upload("too many results wait to be uploaded");
        }
    }

    fn drop_upload(&self, reason: &str) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        self.upload_warning.warn(
            "shared_result_dropped",
            format_args!("/{}/: a result is not shared: {reason}", self.route),
        );
    }

    /// Uploads a result. On a thread of [`Uploads`].
    fn upload(&self, name: &Name, entry: &SharedEntry) {
        // It may have been purged, and another server may serve what is uploaded now.
        let mark = match self.journal.mark(name, unix_milliseconds(entry.validated_at)) {
            Ok(mark) => mark,
            Err(reason) => return self.drop_upload(reason),
        };
        // If its key is too long, each server makes it itself.
        let metadata = Metadata::new(name, &self.route, entry, self.cache_time, mark);
        let Ok(Some(metadata)) = metadata else { return };
        if !self.puts.allows(Instant::now()) {
            return self.drop_upload("earlier uploads have failed");
        }
        let deadline = Deadline::after(UPLOAD_TIMEOUT, "the limit for an upload");
        let image = &entry.image;
        let key = result_object::key(EntryId::of(name));
        let fields = metadata.fields();
        let media_type = image.media_type.content_type();
        let result = self.bucket.put(&key, media_type, &fields, &image.bytes, deadline);
        self.puts.record(result.is_ok(), Instant::now());
        match result {
            Ok(()) => {
                self.counts.uploaded.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                self.upload_warning.warn(
                    "shared_result_dropped",
                    format_args!("/{}/: a result is not shared: {}", self.route, failure.detail),
                );
            }
        }
    }

    pub fn status(&self) -> ResultsStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = Instant::now();
        ResultsStatus {
            // Requests without a signature are refused by the configuration.
            credentials: self.bucket.credentials().unwrap_or(CredentialsStatus::Missing),
            is_breaker_open: self.lookups.is_open(now) || self.puts.is_open(now),
            uploaded: count(&self.counts.uploaded),
            failed: count(&self.counts.failed),
            dropped: count(&self.counts.dropped),
        }
    }
}

/// The entry, if it is later than what the edge asks for. It may have been validated between a purge and the moment at which
/// this server learned of it; then it gets the time of that moment, by which the edge judges it.
fn after(not_before: NotBefore, mark: u64, entry: SharedEntry) -> Option<SharedEntry> {
    let NotBefore { time, purge } = not_before;
    let validated_at = unix_milliseconds(entry.validated_at);
    if validated_at > time {
        return Some(entry);
    }
    let is_after_purge = purge > 0 && mark >= purge;
    let is_near = time.saturating_sub(validated_at) <= milliseconds(MAX_SKEW);
    let validated_at = system_time(time.saturating_add(1));
    (is_after_purge && is_near).then_some(SharedEntry { validated_at, ..entry })
}

/// Replaces a time that is a little ahead of this server's clock, which is that of another server: the entry would count
/// as one of unknown age.
fn not_from_the_future(entry: SharedEntry, now: SystemTime) -> SharedEntry {
    match entry.validated_at.duration_since(now) {
        Ok(ahead) if ahead <= MAX_SKEW => SharedEntry { validated_at: now, ..entry },
        _ => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::EncodedImage;
    use crate::documents::assert_says;
    use crate::format::Format;

    #[test]
    fn limits_are_as_documented() {
        let says = |sentence: String| assert_says("docs/cache.md", &sentence);
        says(format!("images of more than {} MiB", MAX_IMAGE >> 20));
        says(format!("Each has {} seconds", UPLOAD_TIMEOUT.as_secs()));
        says(format!(
            "After {} failures in a row, lookups are left out, but for one every {} seconds",
            breaker::MAX_FAILURES,
            breaker::OPEN_TIME.as_secs()
        ));
        says(format!(
            "at most {} images and {} MiB and are sent by {} threads",
            uploads::QUEUE,
            uploads::MAX_BYTES >> 20,
            uploads::THREADS
        ));
    }

    #[test]
    fn a_result_with_the_mark_of_a_purge_is_later_than_it() {
        let validated = |validated_at: u64, not_before, mark| {
            let image = EncodedImage::new(vec![1], Format::Png, None);
            let validated_at = system_time(validated_at);
            let entry = SharedEntry { image, validator: None.into(), validated_at };
            after(not_before, mark, entry).map(|entry| unix_milliseconds(entry.validated_at))
        };
        let shared = NotBefore { time: 500_000, purge: 90 };
        let local = NotBefore { time: 500_000, purge: 0 };
        for (validated_at, not_before, mark, expected) in [
            (500_001, local, 0, Some(500_001)),
            (500_000, local, 100, None),
            (500_001, shared, 0, Some(500_001)),
            (499_000, shared, 90, Some(500_001)),
            (499_000, shared, 91, Some(500_001)),
            (499_000, shared, 89, None),
            (439_999, shared, 90, None),
            (7, NotBefore::default(), 0, Some(7)),
        ] {
            let case = format!("{validated_at} {not_before:?} {mark}");
            assert_eq!(validated(validated_at, not_before, mark), expected, "{case}");
        }
    }

    #[test]
    fn a_time_a_little_in_the_future_is_that_of_another_clock() {
        let now = SystemTime::now();
        let at = |validated_at| {
            let image = EncodedImage::new(vec![1], Format::Png, None);
            let entry = SharedEntry { image, validator: None.into(), validated_at };
            not_from_the_future(entry, now).validated_at
        };
        let second = Duration::from_secs(1);
        for (time, expected) in [
            (now - second, now - second),
            (now, now),
            (now + second, now),
            (now + MAX_SKEW, now),
            (now + MAX_SKEW + second, now + MAX_SKEW + second),
        ] {
            assert_eq!(at(time), expected);
        }
    }
}
