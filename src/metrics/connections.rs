//! The metrics of connections and of TLS.

use super::family::{
    CERTIFICATE_EXPIRY, CONNECTIONS_ACCEPTED, CONNECTIONS_OPEN, CONNECTIONS_REFUSED, TLS_HANDSHAKES,
};
use super::labels::{By, Handshake, ListenerLabel, RefusedConnection};
use super::text::Writer;
use super::values::{Counter, Gauge, Held};
use crate::sync::Mutex;

#[derive(Debug, Default)]
pub struct Connections {
    accepted: By<ListenerLabel, Counter>,
    open: By<ListenerLabel, Gauge>,
    pub refused: By<RefusedConnection, Counter>,
    pub handshakes: By<Handshake, Counter>,
    /// The files of certificates in use, each with the Unix time at which the first of its certificates expires.
    pub certificates: Mutex<Vec<(String, u64)>>,
}

impl Connections {
    /// Counts an accepted connection, which is open until the result is dropped.
    pub fn accept(&'static self, listener: ListenerLabel) -> Held {
        self.accepted.get(listener).add(1);
        self.open.get(listener).hold()
    }

    pub fn write(&self, writer: &mut Writer) {
        let mut samples = writer.family(CONNECTIONS_ACCEPTED);
        self.accepted.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        let mut samples = writer.family(CONNECTIONS_OPEN);
        self.open.iter().for_each(|(name, gauge)| samples.add(&[name], gauge.get()));
        let mut samples = writer.family(CONNECTIONS_REFUSED);
        self.refused.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        let mut samples = writer.family(TLS_HANDSHAKES);
        self.handshakes.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        let mut samples = writer.family(CERTIFICATE_EXPIRY);
        for (file, expiry) in self.certificates.lock().iter() {
            samples.add(&[file], expiry);
        }
    }
}
