//! What identifies a request in the log: `X-Request-Id` and `traceparent` (W3C Trace Context) of a trusted proxy.

use super::request::Request;
use crate::log::context::RequestIds;
use crate::log::request_id::RequestId;
use crate::log::trace_context::TraceContext;

/// The ids of a request. Those of a peer that is not trusted are ignored, as are invalid ones: there is always an id.
pub fn request_ids(request: &Request, is_peer_trusted: bool) -> RequestIds {
    let field = |name| if is_peer_trusted { only(request, name) } else { None };
    RequestIds {
        id: field("x-request-id").and_then(RequestId::parse).unwrap_or_else(RequestId::random),
        trace: field("traceparent").and_then(TraceContext::parse),
    }
}

/// The value of a field that occurs once. Of two, a proxy may have added one and passed the client's on.
fn only<'b>(request: &Request<'b>, name: &'static str) -> Option<&'b [u8]> {
    let mut values = request.raw(name);
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::request::{Head, parse};

    fn ids(fields: &str, is_peer_trusted: bool) -> RequestIds {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let Ok(Head::Complete(request, _)) = parse(text.as_bytes()) else { panic!("{text}") };
        request_ids(&request, is_peer_trusted)
    }

    #[test]
    fn ids_of_trusted_peers_are_kept() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let fields =
            format!("X-REQUEST-ID:  a-1 \r\nTraceParent: 00-{trace}-00f067aa0ba902b7-01\r\n");
        let RequestIds { id, trace: found } = ids(&fields, true);
        assert_eq!((id.as_str(), found.unwrap().trace_id()), ("a-1", trace));
        let RequestIds { id, trace } = ids(&fields, false);
        assert_eq!((id.as_str().len(), trace), (32, None));
    }

    #[test]
    fn missing_invalid_and_repeated_ids_are_replaced() {
        for fields in [
            "",
            "X-Request-Id:\r\n",
            "X-Request-Id: a b\r\n",
            "X-Request-Id: a\r\nX-Request-Id: a\r\n",
            "X-Request-Id: \u{e9}\r\n",
        ] {
            let RequestIds { id, trace } = ids(fields, true);
            assert!(id.as_str().len() == 32 && trace.is_none(), "{fields:?}: {id:?}");
        }
        let traceparent =
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        assert_eq!(ids(&traceparent.repeat(2), true).trace, None);
        assert_eq!(ids("traceparent: 00-x\r\n", true).trace, None);
    }
}
