//! Answers: responses with their columns of the access log.

use crate::edge::http::response::Response;
use crate::edge::variants::CacheStatus;

/// A response, with its values for the access log.
#[derive(Debug)]
pub struct Answer {
    pub response: Response,
    /// The value of `X-Cache`.
    pub cache: Option<&'static str>,
    /// The value of `X-Error`.
    pub error: Option<&'static str>,
}

/// The answer to a request, or a job that has to wait for it.
#[derive(Debug)]
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
        Answer { response, cache: None, error: None }
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
        let cache = Some(CacheStatus::Miss.as_str());
        Answer { error: Some(CODE), cache, ..Answer::plain(response) }
    }
}
