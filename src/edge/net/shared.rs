//! The state that all connections share.

use std::io;
use std::sync::Arc;

use super::connection_table::ConnectionTable;
use super::inbox::Inboxes;
use crate::edge::serve::service::Service;

/// For the life of the process.
#[derive(Debug)]
pub struct Shared {
    pub service: Service,
    pub connections: Arc<ConnectionTable>,
    pub inboxes: Inboxes,
}

impl Shared {
    pub fn new(service: Service) -> io::Result<Arc<Shared>> {
        let connections = Arc::new(ConnectionTable::new());
        Ok(Arc::new(Shared { service, connections, inboxes: Inboxes::new()? }))
    }
}
