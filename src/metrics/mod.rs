//! The metrics of the edge, for the life of the process: a reload resets nothing.
//!
//! `GET /-/metrics` writes them in the text formats of Prometheus ([`text`]); [`family`] is the table of their names.
//! Counting takes no lock: a value is an atomic, and the values of a handler are found by name once, when its
//! configuration is loaded. The values of a label come from the code and the configuration, never from a client, so
//! that no client can add a series.

mod by_name;
mod caches;
mod connections;
mod events;
pub mod family;
mod handlers;
mod labels;
mod registry;
mod renderer;
mod text;
mod values;

use std::sync::LazyLock;

pub use self::caches::RemovedEntries;
#[cfg(test)]
pub use self::handlers::STATUSES;
pub use self::handlers::{HandlerMetrics, ResponseCount};
pub use self::labels::{
    EventRender, EventResult, EventSource, Handshake, HookResult, ListenerLabel, Purge,
    RefusedConnection, Reload, Removal, Restart, VariantResult,
};
pub use self::registry::Metrics;
pub use self::text::{Exposition, Writer};
pub use self::values::Held;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);
