//! The state that all connections share.

use std::io;
use std::sync::Arc;

use super::connection_table::ConnectionTable;
use super::inbox::Inboxes;
use crate::edge::serve::responder::Responder;

/// For the life of the process.
#[derive(Debug)]
pub struct Shared {
    pub responder: Responder,
    pub connections: Arc<ConnectionTable>,
    pub inboxes: Inboxes,
}

impl Shared {
    pub fn new(responder: Responder) -> io::Result<Arc<Shared>> {
        let connections = Arc::new(ConnectionTable::new());
        Ok(Arc::new(Shared { responder, connections, inboxes: Inboxes::new()? }))
    }
}
