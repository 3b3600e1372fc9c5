//! The renderer as the edge sees it: a fixed set of connections to a child process that may exit at any time.
//!
//! * `client` sends a request and retries it on the next worker when the first one exits.
//! * `queue` holds the idle connections to the current worker and the requests that wait for one; `connection` speaks
//!   HTTP over one of them.
//! * `journal` calls the shared journal on connections that are reserved for it.
//! * `supervisor` is one thread that starts workers, checks their `heartbeat` and memory, and drains and replaces them.
//!   A `worker` is one renderer `process` with its pipes; it listens in a private `socket_directory`.
//! * `in_flight` is the table of a worker's requests. The worker writes a decode event to its standard output when
//!   libvips starts or ends work for one of them; `exit_watch` reads the events and, when the pipe closes, the exit
//!   status.
//! * `crash_tracker` counts crashes by path. The request that was decoded alone when a worker crashed fails; when
//!   there were several, each path is a suspect and is decoded alone the next time (`quarantine`), so that the next
//!   crash identifies it. A path with two crashes is blocked for a while, and so are options of a path that exceeded a
//!   timeout twice.

mod client;
mod connection;
mod crash_tracker;
mod exit_watch;
mod heartbeat;
mod in_flight;
mod journal;
mod process;
mod quarantine;
mod queue;
mod replacement;
mod shared;
mod socket_directory;
mod supervisor;
pub mod usage;
mod worker;

pub use client::{RenderError, Renderer};
pub use connection::RenderRequest;
pub use crash_tracker::Tracked;
pub use socket_directory::SocketDirectory;
