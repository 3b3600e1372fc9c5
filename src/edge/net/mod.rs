//! Listeners, connections and TLS: everything that touches a client socket.

pub mod connection;
pub mod connection_table;
pub mod listener;
pub mod poller;
pub mod preface;
pub mod proxy_protocol;
pub mod socket;
pub mod stream;
pub mod tls;
