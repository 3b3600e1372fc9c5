//! Answers the requests of all listeners; holds the current configuration, and the state of a shutdown.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::admin::{self, AdminJob};
use super::answer::{Answer, Reply};
use super::events::Events;
use super::failures::{Failure, Failures};
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
    pub running: Arc<CurrentConfig>,
    pub shutdown: Arc<Shutdown>,
    pub readiness: Arc<Readiness>,
    pub failures: Failures,
    pub events: Arc<Events>,
}

/// The part of a request that waits, for a thread that may. It owns its data and is run under the configuration that
/// the request began with.
#[derive(Debug)]
pub enum Job {
    Image(ImageJob),
    Admin(AdminJob),
}

impl Responder {
    pub fn new(running: RunningConfig) -> Responder {
        let running = Arc::new(CurrentConfig::new(running));
        Responder {
            events: Arc::new(Events::new(&running)),
            running,
            shutdown: Arc::default(),
            readiness: Arc::default(),
            failures: Failures::default(),
        }
    }

    /// Keeps the reason of a failed image.
    pub fn record_failure(&self, answer: &Answer, request_id: &str, time: SystemTime) {
        let (Some(reason), Some(code)) = (&answer.reason, answer.error) else { return };
        let failure = Failure {
            route: answer.handler.as_ref().map_or_else(String::new, |handler| handler.name.clone()),
            key: answer.name.as_ref().map_or_else(String::new, |name| name.key.clone()),
            code,
            reason: reason.clone(),
        };
        self.failures.add(failure, Some(request_id.to_owned()), time);
    }

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
        let Responder { shutdown, readiness, failures, events, .. } = self;
        let reply = admin::answer(request, peer, running, shutdown, readiness, failures, events);
        reply.map(Job::Admin)
    }
}

impl Job {
    /// Where it takes the body of its request. `None` if it has none.
    pub fn body(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Job::Admin(job) => job.body(),
            Job::Image(_) => None,
        }
    }

    pub fn run(self, running: &RunningConfig) -> Answer {
        match self {
            Job::Image(job) => running.images.make(job),
            Job::Admin(job) => job.run(running),
        }
    }
}
