//! The contract, held against the whole program: each test starts the real binary with a configuration of its
//! own and talks to it as a client does. The origins are servers in this process.

mod admin;
mod answers;
mod bounds;
mod cache;
mod cache_command;
mod certificates;
mod coalescing;
mod config;
mod confine;
mod crashes;
mod directory;
mod edge;
mod faults;
mod freshness;
mod handlers;
mod hostile;
mod https;
mod keys;
mod log;
mod memory;
mod options;
mod originals;
mod presets;
mod proxies;
mod refresh;
mod reload;
mod renderer;
mod replacement;
mod resize;
mod s3;
mod sockets;
mod stderr;
mod stop;
mod support;
mod token;
