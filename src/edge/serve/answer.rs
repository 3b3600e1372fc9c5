//! Answers: responses with their columns of the access log and their labels in the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::Name;
use crate::edge::http::response::Response;
use crate::edge::variants::{CacheStatus, HandlerState};
use crate::metrics::HandlerMetrics;
use crate::phases::Phases;

/// A response, with its values for the access log and the metrics.
#[derive(Debug)]
pub struct Answer {
    pub response: Response,
    /// The value of `X-Cache`.
    pub cache: Option<&'static str>,
    /// The value of `X-Error`.
    pub error: Option<&'static str>,
    /// The metrics of the request's handler, which also have its name; `None` without a handler.
    pub handler: Option<Arc<HandlerMetrics>>,
    /// The variant that was asked for; `None` if the request was refused before its options were known.
    pub name: Option<Name>,
    /// The work of the renderer for this request.
    pub phases: Option<Box<Phases>>,
    /// Why the image could not be made, for the list of the last failures.
    pub reason: Option<String>,
}

/// The answer to a request, or a job that has to wait for it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost each hit an allocation")]
pub enum Reply<J> {
    Ready(Answer),
    Pending(J),
}

impl<J> Reply<J> {
    pub fn map<K>(self, convert: impl FnOnce(J) -> K) -> Reply<K> {
        match self {
            Reply::Ready(answer) => Reply::Ready(answer),
            Reply::Pending(job) => Reply::Pending(convert(job)),
        }
    }
}

impl Answer {
    /// A response that is not for an image.
    pub fn plain(response: Response) -> Answer {
        Answer {
            response,
            cache: None,
            error: None,
            handler: None,
            name: None,
            phases: None,
            reason: None,
        }
    }

    /// The answer as one of this handler.
    pub fn of(self, handler: &HandlerState) -> Answer {
        Answer { handler: Some(Arc::clone(&handler.metrics)), ..self }
    }

    /// With the value of `X-Cache` in its response.
    pub fn with_cache(self, status: CacheStatus) -> Answer {
        Answer { cache: Some(status.as_str()), ..self }
    }

    /// The answer to a request for this variant.
    pub fn about(self, name: Name) -> Answer {
        Answer { name: Some(name), ..self }
    }

    /// The answer after work of the renderer, which clients may learn about or not.
    pub fn after(self, phases: Phases, has_server_timing: bool) -> Answer {
        let value = server_timing(&phases);
        let response = if has_server_timing && !value.is_empty() {
            self.response.with("Server-Timing", &value)
        } else {
            self.response
        };
        Answer { response, phases: phases.boxed(), ..self }
    }

    pub fn no_such_handler() -> Answer {
        const CODE: &str = "no_such_handler";
        let response = Response::text(404, "no handler at this path").with("X-Error", CODE);
        Answer { error: Some(CODE), ..Answer::plain(response) }
    }

    pub fn bad_request(sentence: &str) -> Answer {
        Answer { error: Some("bad_request"), ..Answer::plain(Response::text(400, sentence)) }
    }

    pub fn overloaded() -> Answer {
        const CODE: &str = "overloaded";
        let response = Response::text(503, "the server is overloaded, try again later")
            .with("Retry-After", "1")
            .with("X-Error", CODE);
        Answer { error: Some(CODE), ..Answer::plain(response) }.with_cache(CacheStatus::Miss)
    }
}

/// The value of `Server-Timing` (W3C Server Timing), with durations in milliseconds.
fn server_timing(phases: &Phases) -> String {
    let Phases { queue, shared, fetch, permit, decode, encode, .. } = phases;
    let times = [
        ("queue", *queue),
        ("shared", shared.map_or(Duration::ZERO, |lookup| lookup.took)),
        ("fetch", fetch.map_or(Duration::ZERO, |fetch| fetch.took)),
        ("permit", *permit),
        ("decode", *decode),
        ("encode", *encode),
    ];
    let measured = times.into_iter().filter(|(_, took)| !took.is_zero());
    let metric = |(name, took): (&str, Duration)| {
        let microseconds = took.as_micros();
        format!("{name};dur={}.{:03}", microseconds / 1000, microseconds % 1000)
    };
    measured.map(metric).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_has_the_measured_phases_in_milliseconds() {
        let text = "shared=1200:0:miss fetch=48213:2345678:fetched:0 decode=1290 encode=90 in=jpg:1 out=webp:1";
        let phases = Phases { queue: Duration::from_secs(2), ..Phases::parse(text).unwrap() };
        let expected = "queue;dur=2000.000, shared;dur=1.200, fetch;dur=48.213, decode;dur=1.290, \
                        encode;dur=0.090";
        assert_eq!(server_timing(&phases), expected);
        assert_eq!(server_timing(&Phases::default()), "");
    }
}
