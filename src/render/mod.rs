//! The renderer: the only process that runs libvips, talks to S3 and decodes untrusted images. Its only client is the
//! edge, which starts another renderer when this one crashes, hangs or is killed.
//!
//! * `startup` reads the configuration from the edge, enters the `sandbox` and starts the server; `process` sets its
//!   death signal and its priority.
//! * `server` is the HTTP loop on the private socket, with a `pool` of worker threads; `service` serves one request.
//! * `once` renders one image for `s3imageserver render`.
//! * `online` asks the origins for `--check --online`.
//! * `purge_hook` sends the purge hooks of handlers.
//! * `sns` asks Amazon SNS for the edge.
//! * `originals` gets originals: from memory, from their cache, or from an `origin`.
//! * `results` shares results with other servers, in a bucket.
//! * `s3` is the client of a bucket, `http` the client below it.
//! * `admission` hands out permits to decode within `memory_budget`; `watchdog` stops work that exceeds
//!   `decode_timeout`; `decode_events` tells the edge which requests are decoding.
//! * `codec` reads the container before anything is decoded, which is when the limits are checked; `pipeline` makes the
//!   image with `vips`.

mod admission;
pub mod bench;
mod cache_write;
mod codec;
mod decode_events;
mod http;
mod journal;
mod once;
mod online;
mod origin;
mod originals;
mod pipeline;
mod pool;
mod process;
mod purge_hook;
mod read_path;
mod result_object;
mod results;
mod s3;
mod sandbox;
mod server;
mod service;
mod sns;
mod startup;
mod unsafe_key;
mod vips;
mod watchdog;

pub use once::run_once;
pub use online::check_online;
pub use startup::{check, run, warn_if_not_sandboxed};
