//! Answers a request: routing, authorization, image responses, the admin listener, the access log.

pub mod access_log;
pub mod admin;
pub mod auth;
mod error_image;
pub mod image_handler;
mod image_request;
pub mod image_response;
pub mod router;
pub mod running_config;
pub mod shutdown;
