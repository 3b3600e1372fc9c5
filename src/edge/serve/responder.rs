//! Answers the requests of all listeners; holds the current configuration, and the state of a shutdown.

use std::net::IpAddr;
use std::sync::Arc;

use super::admin::{self, PurgeTarget};
use super::answer::{Answer, Reply};
use super::image_handler::ImageJob;
use super::readiness::Readiness;
use super::router;
use super::running_config::{CurrentConfig, RunningConfig};
use super::shutdown::Shutdown;
use crate::edge::http::forwarded::Client;
use crate::edge::http::request::Request;

/// For the life of the process.
#[derive(Debug)]
pub struct Responder {
    pub running: CurrentConfig,
    pub shutdown: Arc<Shutdown>,
    pub readiness: Arc<Readiness>,
}

/// The part of a request that waits, for a thread that may. It owns its data and is run under the configuration that
/// the request began with.
#[derive(Debug)]
pub enum Job {
    Image(ImageJob),
    Purge(PurgeTarget),
}

impl Responder {
    /// Answers a request of a public listener, or returns the job that does. Never waits for a renderer.
    pub fn answer(&self, request: &Request, client: Client, running: &RunningConfig) -> Reply<Job> {
        router::answer(request, client, running, &self.shutdown, &self.readiness).map(Job::Image)
    }

    /// Answers a request of the admin listener, or returns the job that does. Never waits for a renderer.
    pub fn answer_admin(
        &self,
        request: &Request,
        peer: Option<IpAddr>,
        running: &RunningConfig,
    ) -> Reply<Job> {
        admin::answer(request, peer, running, &self.shutdown, &self.readiness).map(Job::Purge)
    }
}

impl Job {
    pub fn run(self, running: &RunningConfig) -> Answer {
        match self {
            Job::Image(job) => running.images.make(job),
            Job::Purge(target) => admin::purge(&target, running),
        }
    }
}
