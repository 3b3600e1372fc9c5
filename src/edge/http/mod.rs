//! HTTP/1.1 messages: parsing requests, conditions and forwarding headers, formatting responses. No state.

pub mod bearer;
pub mod conditional;
pub mod forwarded;
pub mod request;
pub mod response;
