//! The metrics of a process.

use std::sync::Arc;

use super::caches::Caches;
use super::connections::Connections;
use super::events::Events;
use super::family::{ADMIN_REQUESTS, BUILD_INFO, CONFIG_LOADED, CONFIG_RELOADS, START_TIME};
use super::handlers::{HandlerMetrics, Handlers};
use super::labels::{By, Reload};
use super::renderer::RendererMetrics;
use super::text::Writer;
use super::values::{Counter, Gauge};

#[derive(Debug)]
pub struct Metrics {
    pub handlers: Handlers,
    /// Of requests on the public listeners that have no handler.
    pub without_handler: Arc<HandlerMetrics>,
    /// Of requests on the admin listener.
    pub admin: Arc<HandlerMetrics>,
    pub connections: Connections,
    pub caches: Caches,
    pub events: Events,
    pub renderer: RendererMetrics,
    pub started: Gauge,
    /// When the configuration in force was loaded.
    pub config_loaded: Gauge,
    pub reloads: By<Reload, Counter>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            handlers: Handlers::default(),
            without_handler: Arc::new(HandlerMetrics::new("")),
            admin: Arc::new(HandlerMetrics::new("")),
            connections: Connections::default(),
            caches: Caches::default(),
            events: Events::default(),
            renderer: RendererMetrics::default(),
            started: Gauge::default(),
            config_loaded: Gauge::default(),
            reloads: By::default(),
        }
    }
}

impl Metrics {
    /// Writes the families whose values are counted, not those that are read when they are asked for.
    pub fn write(&self, writer: &mut Writer) {
        self.handlers.write(&self.without_handler, writer);
        let mut samples = writer.family(ADMIN_REQUESTS);
        for (status, count) in self.admin.by_status() {
            samples.add(&[&status], count);
        }
        self.connections.write(writer);
        self.caches.write(writer);
        self.events.write(writer);
        self.renderer.write(writer);
        writer.family(CONFIG_LOADED).add(&[], self.config_loaded.get());
        let mut samples = writer.family(CONFIG_RELOADS);
        self.reloads.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        writer.family(START_TIME).add(&[], self.started.get());
        writer.family(BUILD_INFO).add(&[env!("CARGO_PKG_VERSION")], 1);
    }
}
