//! HTTP/1.1 messages without state: parses requests, evaluates conditions and forwarding fields, formats responses.

pub mod bearer;
pub mod conditional;
pub mod disposition;
pub mod forwarded;
pub mod request;
pub mod request_ids;
pub mod response;
