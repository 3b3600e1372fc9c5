//! Answers a request: routing, authorization, image responses, the admin listener, the access log.

pub mod access_log;
pub mod admin;
pub mod answer;
mod auth;
mod cache_policy;
mod error_image;
mod events;
mod failures;
mod fallback;
mod image_handler;
mod image_request;
mod image_response;
pub mod page;
pub mod readiness;
pub mod responder;
mod router;
pub mod running_config;
pub mod shutdown;
