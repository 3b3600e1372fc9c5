//! Listeners, connections and TLS: everything that touches a client socket.

pub mod activation;
mod connection;
mod connection_table;
mod connection_thread;
pub mod endpoint;
mod inbox;
pub mod listener;
pub mod poller;
mod preface;
mod proxy_protocol;
pub mod shared;
mod socket;
mod stream;
pub mod tls;
