//! The metrics of each handler.

use std::sync::Arc;
use std::time::Duration;

use super::by_name::{ByName, OTHER};
use super::family::{
    COALESCED_REQUESTS, FETCH_DURATION, FETCHED_BYTES, Family, HTTP_ERRORS, HTTP_REQUEST_DURATION,
    HTTP_REQUESTS, HTTP_RESPONSE_BYTES, MEMORY_CACHE_HITS, ORIGIN_RETRIES, PURGE_HOOK_REQUESTS,
    REVALIDATIONS, SHARED_LOOKUP_BYTES, SHARED_LOOKUP_DURATION, TOKENS_REFUSED, VARIANTS,
};
use super::labels::{By, HookResult, Label, VariantResult};
use super::text::Writer;
use super::values::{Counter, Histogram};
use crate::error::Code;
use crate::phases::{Fetch, FetchOutcome, SharedLookup, SharedOutcome};
use crate::token::Refusal;

/// The statuses of responses; any other is counted as [`OTHER`].
pub const STATUSES: [u16; 23] = [
    200, 304, 206, 404, 204, 301, 400, 401, 403, 405, 408, 411, 412, 413, 414, 415, 416, 431, 500,
    502, 503, 504, 505,
];

/// The values of `X-Cache`, and that of responses without it.
const CACHE_RESULTS: [&str; 6] = ["hit", "miss", "stale", "revalidated", "shared", "none"];
const NO_CACHE_RESULT: usize = CACHE_RESULTS.len() - 1;

/// The errors of the access log that are no [`Code`].
const OTHER_ERRORS: [&str; 7] = [
    "bad_request",
    "no_such_handler",
    "overloaded",
    "unauthorized",
    "refresh_failed",
    "client_gone",
    OTHER,
];
const ERRORS: usize = Code::ALL.len() + OTHER_ERRORS.len();

/// A response that has been sent.
#[derive(Clone, Copy, Debug)]
pub struct ResponseCount {
    pub status: u16,
    /// The value of `X-Cache`.
    pub cache: Option<&'static str>,
    /// As in the access log.
    pub error: Option<&'static str>,
    /// Bytes that the socket took.
    pub bytes: u64,
    pub took: Duration,
}

/// The metrics of one handler, or of the requests without a handler.
#[derive(Debug)]
pub struct HandlerMetrics {
    /// The route.
    pub name: String,
    /// By status and cache result.
    requests: [[Counter; CACHE_RESULTS.len()]; STATUSES.len() + 1],
    /// By cache result.
    durations: [Histogram; CACHE_RESULTS.len()],
    response_bytes: Counter,
    errors: [Counter; ERRORS],
    /// By outcome.
    fetches: [Histogram; FetchOutcome::ALL.len()],
    fetched_bytes: Counter,
    retries: Counter,
    /// By outcome.
    shared_lookups: [Histogram; SharedOutcome::ALL.len()],
    shared_bytes: Counter,
    /// Answers of renderers.
    pub variants: By<VariantResult, Counter>,
    /// Revalidations of stale variants.
    pub revalidations: By<VariantResult, Counter>,
    /// Requests that got the result of another one.
    pub coalesced: Counter,
    pub memory_hits: Counter,
    pub refusals: By<Refusal, Counter>,
    pub purge_hook: By<HookResult, Counter>,
}

impl HandlerMetrics {
    pub fn new(name: &str) -> HandlerMetrics {
        HandlerMetrics {
            name: name.to_owned(),
            requests: Default::default(),
            durations: Default::default(),
            response_bytes: Counter::default(),
            errors: std::array::from_fn(|_| Counter::default()),
            fetches: Default::default(),
            fetched_bytes: Counter::default(),
            retries: Counter::default(),
            shared_lookups: Default::default(),
            shared_bytes: Counter::default(),
            variants: By::default(),
            revalidations: By::default(),
            coalesced: Counter::default(),
            memory_hits: Counter::default(),
            refusals: By::default(),
            purge_hook: By::default(),
        }
    }

    pub fn count_response(&self, response: ResponseCount) {
        let ResponseCount { status, cache, error, bytes, took } = response;
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let cache = cache.and_then(|cache| CACHE_RESULTS.iter().position(|known| *known == cache));
        let cache = cache.unwrap_or(NO_CACHE_RESULT);
        if let Some(counter) = self.requests.get(status).and_then(|counters| counters.get(cache)) {
            counter.add(1);
        }
        if let Some(histogram) = self.durations.get(cache) {
            histogram.observe(took);
        }
        self.response_bytes.add(bytes);
        if let Some(error) = error {
            let index = (0..ERRORS).find(|index| error_name(*index) == error);
            if let Some(counter) = self.errors.get(index.unwrap_or(ERRORS - 1)) {
                counter.add(1);
            }
        }
    }

    pub fn count_fetch(&self, fetch: &Fetch) {
        let index = FetchOutcome::ALL.iter().position(|outcome| *outcome == fetch.outcome);
        if let Some(histogram) = index.and_then(|index| self.fetches.get(index)) {
            histogram.observe(fetch.took);
        }
        self.fetched_bytes.add(fetch.bytes);
        self.retries.add(u64::from(fetch.retries));
    }

    pub fn count_shared_lookup(&self, lookup: &SharedLookup) {
        let index = SharedOutcome::ALL.iter().position(|outcome| *outcome == lookup.outcome);
        if let Some(histogram) = index.and_then(|index| self.shared_lookups.get(index)) {
            histogram.observe(lookup.took);
        }
        self.shared_bytes.add(lookup.bytes);
    }

    /// The number of responses with each status, if there are any.
    pub fn by_status(&self) -> impl Iterator<Item = (String, u64)> {
        self.requests.iter().enumerate().filter_map(|(index, counters)| {
            let count = counters.iter().map(Counter::get).fold(0, u64::saturating_add);
            (count > 0).then(|| (status_name(index), count))
        })
    }
}

fn status_name(index: usize) -> String {
    STATUSES.get(index).map_or_else(|| OTHER.to_owned(), u16::to_string)
}

fn error_name(index: usize) -> &'static str {
    match Code::ALL.get(index) {
        Some(code) => code.public_name(),
        None => OTHER_ERRORS.get(index - Code::ALL.len()).copied().unwrap_or(OTHER),
    }
}

/// One of a handler's counters.
type CounterOf = fn(&HandlerMetrics) -> &Counter;

/// The metrics of all handlers.
#[derive(Debug, Default)]
pub struct Handlers(ByName<HandlerMetrics>);

impl Handlers {
    /// The metrics of the handler with this route. They outlive the handler, which may come back with a reload.
    pub fn find(&self, route: &str) -> Arc<HandlerMetrics> {
        self.0.find(route, HandlerMetrics::new)
    }

    /// Writes the families with a handler. Labels of more than a few values leave out those that are still 0.
    pub fn write(&self, without: &Arc<HandlerMetrics>, writer: &mut Writer) {
        let mut handlers = vec![Arc::clone(without)];
        handlers.extend(self.0.all().into_iter().map(|(_, metrics)| metrics));
        let mut samples = writer.family(HTTP_REQUESTS);
        for handler in &handlers {
            for (status, counters) in handler.requests.iter().enumerate() {
                let status = status_name(status);
                for (cache, counter) in CACHE_RESULTS.iter().zip(counters) {
                    if counter.get() > 0 {
                        samples.add(&[&handler.name, &status, cache], counter.get());
                    }
                }
            }
        }
        let mut samples = writer.family(HTTP_REQUEST_DURATION);
        for handler in &handlers {
            for (cache, histogram) in CACHE_RESULTS.iter().zip(&handler.durations) {
                if !histogram.is_empty() {
                    samples.histogram(&[&handler.name, cache], histogram);
                }
            }
        }
        let mut samples = writer.family(HTTP_RESPONSE_BYTES);
        for handler in &handlers {
            samples.add(&[&handler.name], handler.response_bytes.get());
        }
        let mut samples = writer.family(HTTP_ERRORS);
        for handler in &handlers {
            for (index, counter) in handler.errors.iter().enumerate() {
                if counter.get() > 0 {
                    samples.add(&[&handler.name, error_name(index)], counter.get());
                }
            }
        }
        let mut samples = writer.family(FETCH_DURATION);
        for handler in &handlers {
            for (outcome, histogram) in FetchOutcome::ALL.iter().zip(&handler.fetches) {
                if !histogram.is_empty() {
                    samples.histogram(&[&handler.name, outcome.name()], histogram);
                }
            }
        }
        let handlers = handlers.get(1..).unwrap_or_default();
        let mut samples = writer.family(SHARED_LOOKUP_DURATION);
        for handler in handlers {
            for (outcome, histogram) in SharedOutcome::ALL.iter().zip(&handler.shared_lookups) {
                if !histogram.is_empty() {
                    samples.histogram(&[&handler.name, outcome.name()], histogram);
                }
            }
        }
        let counters: [(_, CounterOf); 5] = [
            (FETCHED_BYTES, |handler| &handler.fetched_bytes),
            (ORIGIN_RETRIES, |handler| &handler.retries),
            (SHARED_LOOKUP_BYTES, |handler| &handler.shared_bytes),
            (COALESCED_REQUESTS, |handler| &handler.coalesced),
            (MEMORY_CACHE_HITS, |handler| &handler.memory_hits),
        ];
        for (family, counter) in counters {
            let mut samples = writer.family(family);
            for handler in handlers {
                samples.add(&[&handler.name], counter(handler).get());
            }
        }
        write_by(VARIANTS, handlers, |handler| &handler.variants, writer);
        write_by(REVALIDATIONS, handlers, |handler| &handler.revalidations, writer);
        let mut samples = writer.family(PURGE_HOOK_REQUESTS);
        for handler in handlers {
            for (result, counter) in handler.purge_hook.iter().filter(|(_, count)| count.get() > 0)
            {
                samples.add(&[&handler.name, result], counter.get());
            }
        }
        let mut samples = writer.family(TOKENS_REFUSED);
        for handler in handlers {
            for (reason, counter) in handler.refusals.iter().filter(|(_, count)| count.get() > 0) {
                samples.add(&[&handler.name, reason], counter.get());
            }
        }
    }
}

/// Writes a family whose second label has these values.
fn write_by<L: Label>(
    family: &'static Family,
    handlers: &[Arc<HandlerMetrics>],
    counters: fn(&HandlerMetrics) -> &By<L, Counter>,
    writer: &mut Writer,
) {
    let mut samples = writer.family(family);
    for handler in handlers {
        for (name, counter) in counters(handler).iter() {
            samples.add(&[&handler.name, name], counter.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::Exposition;
    use super::*;

    fn response(status: u16) -> ResponseCount {
        let took = Duration::from_micros(60);
        ResponseCount { status, cache: Some("hit"), error: None, bytes: 9, took }
    }

    fn text(handlers: &Handlers) -> String {
        let mut writer = Writer::new(Exposition::Prometheus);
        handlers.write(&Arc::new(HandlerMetrics::new("")), &mut writer);
        writer.finish()
    }

    #[track_caller]
    fn assert_has(text: &str, line: &str) {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }

    #[test]
    fn a_response_is_counted_by_status_cache_result_and_error() {
        let handlers = Handlers::default();
        let handler = handlers.find("h");
        handler.count_response(response(200));
        handler.count_response(response(200));
        let error = Some(Code::NotShown.public_name());
        handler.count_response(ResponseCount { cache: Some("miss"), error, ..response(404) });
        let unknown = ResponseCount { cache: None, error: Some("?"), ..response(299) };
        handler.count_response(unknown);
        let text = text(&handlers);
        for line in [
            "http_requests_total{handler=\"h\",status=\"200\",cache=\"hit\"} 2",
            "http_requests_total{handler=\"h\",status=\"404\",cache=\"miss\"} 1",
            "http_requests_total{handler=\"h\",status=\"other\",cache=\"none\"} 1",
            "http_request_duration_seconds_bucket{handler=\"h\",cache=\"hit\",le=\"0.00005\"} 0",
            "http_request_duration_seconds_bucket{handler=\"h\",cache=\"hit\",le=\"0.0001\"} 2",
            "http_request_duration_seconds_count{handler=\"h\",cache=\"miss\"} 1",
            "http_response_bytes_total{handler=\"h\"} 36",
            "http_errors_total{handler=\"h\",code=\"not_found\"} 1",
            "http_errors_total{handler=\"h\",code=\"other\"} 1",
        ] {
            assert_has(&text, &format!("s3imageserver_{line}"));
        }
        assert_eq!(
            handler.by_status().collect::<Vec<_>>(),
            [("200".into(), 2), ("404".into(), 1), ("other".into(), 1)]
        );
    }

    #[test]
    fn each_error_has_a_counter_of_its_own() {
        let handlers = Handlers::default();
        for index in 0..ERRORS {
            let error = Some(error_name(index));
            handlers.find("h").count_response(ResponseCount { error, ..response(404) });
        }
        let text = text(&handlers);
        for index in 0..ERRORS {
            let name = error_name(index);
            let count = if name == "not_found" { 2 } else { 1 };
            let line = format!("{{handler=\"h\",code=\"{name}\"}} {count}");
            assert_has(&text, &format!("s3imageserver_http_errors_total{line}"));
        }
    }

    #[test]
    fn a_fetch_is_counted_by_outcome() {
        let handlers = Handlers::default();
        let took = Duration::from_millis(3);
        for outcome in FetchOutcome::ALL {
            handlers.find("h").count_fetch(&Fetch {
                took,
                bytes: 5,
                outcome: *outcome,
                retries: 2,
            });
        }
        let text = text(&handlers);
        for outcome in FetchOutcome::ALL {
            let line = format!("_count{{handler=\"h\",outcome=\"{}\"}} 1", outcome.name());
            assert_has(&text, &format!("s3imageserver_origin_fetch_duration_seconds{line}"));
        }
        assert_has(&text, "s3imageserver_origin_fetched_bytes_total{handler=\"h\"} 20");
        assert_has(&text, "s3imageserver_origin_retries_total{handler=\"h\"} 8");
    }

    #[test]
    fn a_shared_lookup_is_counted_by_outcome() {
        let handlers = Handlers::default();
        let took = Duration::from_millis(3);
        for outcome in SharedOutcome::ALL.iter().copied() {
            handlers.find("h").count_shared_lookup(&SharedLookup { took, bytes: 5, outcome });
        }
        let text = text(&handlers);
        for outcome in SharedOutcome::ALL {
            let line = format!("_count{{handler=\"h\",outcome=\"{}\"}} 1", outcome.name());
            assert_has(&text, &format!("s3imageserver_shared_lookup_duration_seconds{line}"));
        }
        assert_has(&text, "s3imageserver_shared_lookup_bytes_total{handler=\"h\"} 20");
    }
}
