//! The table of metric families: name, type, labels and help, one row each.
//!
//! Names follow the conventions of Prometheus: base units, and the unit as a suffix.

use std::fmt;

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// Without the suffix `_total` of a counter.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// A sentence.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Family {
    /// The unit, which OpenMetrics requires as a suffix of the name.
    pub fn unit(&self) -> Option<&'static str> {
        let (_, suffix) = self.name.rsplit_once('_')?;
        ["seconds", "bytes", "pixels"].into_iter().find(|unit| *unit == suffix)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

macro_rules! families {
    ($($family:ident: $kind:ident $name:literal [$($label:ident),*] $help:literal;)*) => {
        $(
            pub const $family: &Family = &Family {
                name: concat!("s3imageserver_", $name),
                kind: Kind::$kind,
                labels: &[$(stringify!($label)),*],
                help: $help,
            };
        )*

        /// Every family, in the order of the documentation.
        #[cfg(test)]
        pub const ALL: &[&Family] = &[$($family),*];
    };
}

families! {
    HTTP_REQUESTS: Counter "http_requests" [handler, status, cache]
        "Responses on the public listeners. The handler is empty without one: health checks, redirects, unknown handlers, \
         malformed requests, refused connections. cache is X-Cache, or none.";
    HTTP_REQUEST_DURATION: Histogram "http_request_duration_seconds" [handler, cache]
        "Time from the end of a request's head to the end of its response.";
    HTTP_RESPONSE_BYTES: Counter "http_response_bytes" [handler]
        "Bytes of responses that sockets took, heads included, before TLS.";
    HTTP_ERRORS: Counter "http_errors" [handler, code]
        "Responses with an error, by X-Error or, as in the access log, client_gone and bad_request.";
    TOKENS_REFUSED: Counter "tokens_refused" [handler, reason]
        "Requests that were refused because of their token, or of its lack.";
    COALESCED_REQUESTS: Counter "coalesced_requests" [handler]
        "Requests that got the result of another one for the same variant, instead of asking a renderer themselves.";
    VARIANTS: Counter "variants" [handler, result]
        "Answers of renderers: rendered, revalidated (the cached variant, whose original has not changed), shared (the \
         result of another server), failed.";
    REVALIDATIONS: Counter "stale_revalidations" [handler, result]
        "Revalidations of stale variants that may be served meanwhile, or if they fail. Results as above.";
    CIRCUIT_BREAKER_OPEN: Gauge "circuit_breaker_open" [handler]
        "1 while stale variants are served without waiting for the origin, because it has failed, else 0.";
    MEMORY_CACHE_HITS: Counter "memory_cache_hits" [handler]
        "Variants that were found in memory.";
    MEMORY_CACHE_EVICTIONS: Counter "memory_cache_evictions" []
        "Variants that were evicted from memory (memory_cache).";
    MEMORY_CACHE_ENTRIES: Gauge "memory_cache_entries" []
        "Variants in memory. A reload begins with none.";
    MEMORY_CACHE_BYTES: Gauge "memory_cache_bytes" []
        "Bytes that they take.";
    CACHE_ENTRIES: Gauge "cache_entries" [directory]
        "Entries of a cache directory, of variants or of originals. Complete once the directory has been scanned.";
    CACHE_BYTES: Gauge "cache_bytes" [directory]
        "Bytes that they take on disk.";
    CACHE_REMOVED_ENTRIES: Counter "cache_removed_entries" [directory, cause]
        "Entries that were evicted (cache_max_bytes, cache_min_free), have expired, or were purged.";
    PURGES: Counter "purges" [kind]
        "Purges of a key or of a prefix.";
    PURGES_APPLIED: Counter "shared_purges_applied" [kind]
        "Purges of other servers with the same results bucket that were applied here.";
    PURGES_NOT_RECORDED: Counter "shared_purges_not_recorded" []
        "Purges that could not be recorded for other servers. Their responses were errors.";
    PURGES_READ: Gauge "shared_purges_read_timestamp_seconds" [handler]
        "When the purges of other servers were last read, in Unix time; 0 if they have not been since the configuration was \
         loaded. A handler without a results bucket has no series.";
    PURGE_HOOK_REQUESTS: Counter "purge_hook_requests" [handler, result]
        "Requests of a handler's purge hook: ok, retried (it failed and is sent again), failed (its purges are given up).";
    PURGE_HOOK_WAITING: Gauge "purge_hook_waiting" [handler]
        "Purges that wait for the handler's purge hook or are being sent. A handler without one has no series.";
    EVENTS: Counter "events" [source, result]
        "Events about objects in buckets: purged; repeated, or older than one about the same key; unmatched, with a key that \
         no handler has; ignored, because they change no image; failed, to be sent again; and refused messages.";
    EVENT_LAG: Histogram "event_lag_seconds" []
        "Time from an event, by the sender's clock, to the end of its purge.";
    EVENT_RENDERS: Counter "event_renders" [result]
        "Variants that were rendered again after an event (render_on_change): rendered, failed; and keys that were dropped, \
         because too many waited.";
    EVENT_RENDERS_WAITING: Gauge "event_renders_waiting" []
        "Keys that wait to be rendered again.";
    ADMIN_REQUESTS: Counter "admin_requests" [status]
        "Responses on the admin listener.";
    CONNECTIONS_ACCEPTED: Counter "connections_accepted" [listener]
        "Accepted connections, without those that are refused.";
    CONNECTIONS_OPEN: Gauge "connections_open" [listener]
        "Open connections, without those that are refused.";
    CONNECTIONS_REFUSED: Counter "connections_refused" [cause]
        "Connections that are closed before their first request: limits.connections, limits.connections_per_address, or \
         a trusted proxy that sends no valid PROXY header.";
    TLS_HANDSHAKES: Counter "tls_handshakes" [result]
        "TLS handshakes: full, resumed, or failed.";
    CERTIFICATE_EXPIRY: Gauge "certificate_expiry_timestamp_seconds" [file]
        "When the first certificate of a file in use expires, in Unix time.";
    READY: Gauge "ready" []
        "1 if the server can make images and store them (/-/ready), else 0.";
    RENDERER_UP: Gauge "renderer_up" []
        "1 if a renderer runs and has answered its latest ping, else 0.";
    RENDERER_RESTARTS: Counter "renderer_restarts" [cause]
        "Renderers that were started in place of another one: crash (a signal, an abort, an exit), killed (SIGKILL or SIGTERM \
         from elsewhere, as from the OOM killer), hung (no answer to pings), unresponsive (no answer to a request), outdated \
         (a configured file or directory was replaced), max_renders and max_rss (the limits of these names).";
    RENDERER_REQUESTS: Gauge "renderer_requests_in_flight" []
        "Requests that renderers work on.";
    CRASH_TRACKED_KEYS: Gauge "crash_tracked_keys" [state]
        "Keys that crashed the renderer, and variants that exceeded a timeout, in the last minutes: suspect after the first time, blocked after the second.";
    QUEUE_LENGTH: Gauge "renderer_queue_length" []
        "Requests that wait for a connection to the renderer.";
    QUEUE_WAIT: Histogram "renderer_queue_wait_seconds" []
        "Wait of a request for a connection to the renderer.";
    PERMIT_WAIT: Histogram "renderer_permit_wait_seconds" []
        "Wait of a render for its permit (limits.renders_at_once and limits.memory_budget).";
    RENDERS_IN_FLIGHT: Gauge "renders_in_flight" []
        "Renders that have a permit. Like the next seven, as of the latest ping, at most a few seconds ago.";
    RENDERS_WAITING: Gauge "renders_waiting" []
        "Renders that wait for a permit.";
    RENDER_PERMITS: Gauge "render_permits" []
        "The maximum of renders in flight (limits.renders_at_once).";
    MEMORY_BUDGET: Gauge "memory_budget_bytes" []
        "The memory that renders in flight may take together (limits.memory_budget).";
    MEMORY_BUDGET_USED: Gauge "memory_budget_used_bytes" []
        "The estimated memory of the renders in flight.";
    MEMORY_BUDGET_WAITED: Gauge "memory_budget_waited_bytes" []
        "The estimated memory of the renders that wait for a permit.";
    FETCHES_IN_FLIGHT: Gauge "origin_fetches_in_flight" []
        "Requests to origins in flight.";
    ORIGIN_RETRIES: Counter "origin_retries" [handler]
        "Requests to origins that were sent again, after a closed connection or a 5xx.";
    CREDENTIALS_FOUND: Gauge "credentials_found" [handler]
        "1 if the credentials of a handler's origin are known and have not expired, else 0. A handler that needs none has no \
         series.";
    CREDENTIALS_EXPIRY: Gauge "credentials_expiry_timestamp_seconds" [handler]
        "When the credentials of a handler's origin expire, in Unix time. Credentials that never expire have no series.";
    FETCH_DURATION: Histogram "origin_fetch_duration_seconds" [handler, outcome]
        "Time of fetching or revalidating an original at its origin, retries included.";
    FETCHED_BYTES: Counter "origin_fetched_bytes" [handler]
        "Bytes of fetched originals, without their Content-Encoding.";
    SHARED_LOOKUP_DURATION: Histogram "shared_lookup_duration_seconds" [handler, outcome]
        "Time of a lookup in the results bucket: hit (fresh or stale), miss, damaged (made again), failed (no answer within \
         results_timeout, or a refusal).";
    SHARED_LOOKUP_BYTES: Counter "shared_lookup_bytes" [handler]
        "Bytes of the images that were found there.";
    SHARED_UPLOADS: Counter "shared_uploads" [handler, result]
        "Results for the results bucket: uploaded, failed, dropped (the queue is full, earlier uploads have failed, or the key \
         was purged). Since the start of the renderer; this and the next four as of the latest ping.";
    SHARED_UPLOADS_PENDING: Gauge "shared_uploads_pending" []
        "Uploads that wait or are in flight.";
    SHARED_UPLOADS_PENDING_BYTES: Gauge "shared_uploads_pending_bytes" []
        "Bytes of their images.";
    SHARED_BREAKER_OPEN: Gauge "shared_breaker_open" [handler]
        "1 while the results bucket is not asked or not written to, because it has failed, else 0.";
    SHARED_CREDENTIALS_FOUND: Gauge "shared_credentials_found" [handler]
        "1 if the credentials of the results bucket are known and have not expired, else 0.";
    DECODE_DURATION: Histogram "decode_duration_seconds" [input, output]
        "Time of a render before its encoder: inspection, decoding and steps that are computed at once. A format is none \
         if the render failed before it was known.";
    ENCODE_DURATION: Histogram "encode_duration_seconds" [input, output]
        "Time of the encoder, with the pixels that it asks for.";
    DECODED_PIXELS: Counter "decoded_pixels" [input, output]
        "Pixels of originals that were decoded, of all frames.";
    ENCODED_PIXELS: Counter "encoded_pixels" [input, output]
        "Pixels of results that were encoded, of all frames.";
    CONFIG_LOADED: Gauge "config_load_timestamp_seconds" []
        "When the configuration in force was loaded, in Unix time.";
    CONFIG_RELOADS: Counter "config_reloads" [result]
        "Reloads: ok, or failed, after which the previous configuration stays in force.";
    START_TIME: Gauge "start_time_seconds" []
        "When the edge was started, in Unix time.";
    PROCESS_CPU: Counter "process_cpu_seconds" [process]
        "Processor time of the edge, and of all renderers since the edge was started.";
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" [process]
        "Resident memory of the edge, and of all renderers that run.";
    BUILD_INFO: Gauge "build_info" [version]
        "1, with the version of the server as a label.";
}

/// The table of families, in Markdown.
#[cfg(test)]
pub fn markdown() -> String {
    let mut table = "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for family in ALL {
        let total = if family.kind == Kind::Counter { "_total" } else { "" };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (family.name, family.kind, labels.join(", "));
        table += &format!("| `{name}{total}` | {kind} | {labels} | {} |\n", family.help);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_follow_the_conventions() {
        let mut names: Vec<&str> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for Family { name, kind, labels, help } in ALL {
            let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(is_word(name.trim_start_matches("s3")), "{name}");
            for suffix in ["_total", "_created", "_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            assert!(labels.iter().all(|label| is_word(label) && *label != "le"), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\', '"', '|']), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        }
    }
}
