//! `POST /-/events`: purges what a bucket says has changed, and renders presets again.
//!
//! A body is taken apart ([`message`]); a message of SNS must be signed for a configured topic ([`sns`]). Each event
//! about an object ([`object_event`]) that is not a repetition ([`repetitions`]) purges its key at every handler that has
//! it, through the purger like any other purge.

mod message;
mod object_event;
mod render_queue;
mod repetitions;
mod sns;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use self::message::{Malformed, Part};
use self::object_event::{Change, ObjectEvent};
use self::render_queue::RenderQueue;
use self::repetitions::Repetitions;
use self::sns::{Certificates, Kind, Refusal, SnsMessage};
use super::running_config::{CurrentConfig, RunningConfig};
use crate::config::Topic;
use crate::edge::variants::purge::FailedBuckets;
use crate::key;
use crate::log::{error_ratelimited, info, warn_ratelimited};
use crate::metrics::{EventResult, EventSource, METRICS};
use crate::wire;

/// How long the events of one body may take together. SNS waits 15 seconds for the response, and what has begun is ended.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The state that outlives a request, and a reload.
#[derive(Debug)]
pub struct Events {
    repetitions: Repetitions,
    certificates: Certificates,
    queue: Arc<RenderQueue>,
}

/// A body to be handled, on a thread that may wait.
#[derive(Debug)]
pub struct EventsJob {
    pub body: Vec<u8>,
    events: Arc<Events>,
}

/// The response. Senders repeat a message after a status of 500 or more, and most of them not after another one.
#[derive(Debug)]
pub struct Outcome {
    pub status: u16,
    pub body: Value,
    /// For the access log.
    pub error: Option<&'static str>,
}

/// What the events of a body share while they are handled.
struct Batch<'b> {
    running: &'b RunningConfig,
    deadline: Instant,
    failed: FailedBuckets,
}

/// What has become of the events of a body.
#[derive(Debug, Default)]
struct Report {
    events: u64,
    purged: u64,
    repeated: u64,
    unmatched: u64,
    ignored: u64,
    failed: u64,
    queued: u64,
    confirmed: u64,
    /// The first reason for the sender to send the body again, or not to.
    problem: Option<Problem>,
}

#[derive(Debug)]
enum Problem {
    Malformed(String),
    Refused(String),
    Unavailable(String),
    Incomplete(String),
}

impl Events {
    pub fn new(current: &Arc<CurrentConfig>) -> Events {
        Events {
            repetitions: Repetitions::default(),
            certificates: Certificates::default(),
            queue: Arc::new(RenderQueue::new(current)),
        }
    }
}

impl EventsJob {
    pub fn new(events: &Arc<Events>) -> EventsJob {
        EventsJob { body: Vec::new(), events: Arc::clone(events) }
    }

    pub fn run(self, running: &RunningConfig) -> Outcome {
        let deadline = Instant::now() + MAX_TIME;
        let mut report = Report::default();
        let mut batch = Batch { running, deadline, failed: FailedBuckets::default() };
        match message::read(&self.body) {
            Ok(parts) => self.events.handle(parts, &mut batch, &mut report),
            Err(malformed) => report.malformed(EventSource::Other, malformed),
        }
        report.into_outcome()
    }
}

impl Events {
    fn handle(&self, parts: Vec<Part>, batch: &mut Batch, report: &mut Report) {
        for part in parts {
            let is_late = Instant::now() >= batch.deadline;
            match part {
                Part::Ignored(source) => report.count(source, EventResult::Ignored),
                Part::Object(event) if is_late => report.late(event.source),
                Part::Sns(_) if is_late => report.late(EventSource::Sns),
                Part::Object(event) => self.apply(&event, batch, report),
                Part::Sns(message) => self.handle_sns(&message, batch, report),
            }
        }
    }

    /// Purges the key of an event at every handler that has it.
    fn apply(&self, event: &ObjectEvent, batch: &mut Batch, report: &mut Report) {
        let running = batch.running;
        if self.repetitions.contains(event) {
            return report.count(event.source, EventResult::Repeated);
        }
        let mut result = EventResult::Unmatched;
        for handler in running.images.handlers() {
            let config = &handler.config;
            let keys = event.keys.iter();
            let keys = keys.flat_map(|object| config.origins.keys_of(&event.bucket, object));
            for key in keys.filter(|key| key::is_valid(key)) {
                match running.purger.purge_key_of_batch(&config.route, key, &mut batch.failed) {
                    Some(Ok(_)) if result == EventResult::Unmatched => result = EventResult::Purged,
                    Some(Ok(_)) | None => {}
                    Some(Err(problem)) => {
                        error_ratelimited!(
                            "purge_incomplete",
                            "purge incomplete, send it again: {problem}"
                        );
                        report.incomplete(&problem.to_string());
                        result = EventResult::Failed;
                    }
                }
                let is_rendered = event.change == Change::Created
                    && !config.render_on_change.is_empty()
                    && self.queue.push(&config.route, key);
                report.queued += u64::from(is_rendered);
            }
        }
        if result == EventResult::Purged {
            self.repetitions.insert(event);
            if let Some(time) = event.time {
                // A clock of the sender's that is ahead counts as no lag.
                let lag = SystemTime::now().duration_since(time).unwrap_or_default();
                METRICS.events.lag.observe(lag);
            }
        }
        report.count(event.source, result);
    }

    /// Verifies a message of SNS, and does what it says.
    fn handle_sns(&self, message: &SnsMessage, batch: &mut Batch, report: &mut Report) {
        let running = batch.running;
        let fetch = |topic: &Topic, name: &str| {
            let path = [wire::SNS_CERTIFICATE_PATH, &topic.arn, "/", name].concat();
            running.images.variants().renderer().ask_sns(&path)
        };
        let topic = message.topic(&running.topics).and_then(|topic| {
            self.certificates.verify(message, topic, &fetch)?;
            Ok(topic)
        });
        let result = topic.and_then(|topic| match &message.kind {
            Kind::Notification => {
                match message::read_notification(&message.message) {
                    Ok(parts) => self.handle(parts, batch, report),
                    Err(malformed) => report.malformed(EventSource::Sns, malformed),
                }
                Ok(())
            }
            Kind::SubscriptionConfirmation(_) => {
                confirm(message, topic, running)?;
                report.confirmed += 1;
                Ok(())
            }
            Kind::UnsubscribeConfirmation => {
                info!("sns_unsubscribed", "the subscription to {} has ended", topic.arn);
                Ok(())
            }
        });
        match result {
            Ok(()) => {}
            Err(Refusal::Invalid(sentence)) => report.refused(sentence),
            Err(Refusal::Unavailable(sentence)) => report.unavailable(sentence),
        }
    }
}

/// Has the renderer confirm a subscription.
fn confirm(message: &SnsMessage, topic: &Topic, running: &RunningConfig) -> Result<(), Refusal> {
    let path = [wire::SNS_CONFIRM_PATH, &topic.arn, "/", message.kind.token()?].concat();
    let confirmed = running.images.variants().renderer().ask_sns(&path);
    confirmed.map_err(|problem| {
        Refusal::Unavailable(format!("the subscription to {}: {problem}", topic.arn))
    })?;
    info!("sns_subscribed", "confirmed a subscription to {}", topic.arn);
    Ok(())
}

impl Report {
    fn count(&mut self, source: EventSource, result: EventResult) {
        self.events += 1;
        match result {
            EventResult::Purged => self.purged += 1,
            EventResult::Repeated => self.repeated += 1,
            EventResult::Unmatched => self.unmatched += 1,
            EventResult::Ignored => self.ignored += 1,
            EventResult::Failed | EventResult::Refused => self.failed += 1,
        }
        METRICS.events.count(source, result);
    }

    fn malformed(&mut self, source: EventSource, Malformed(what): Malformed) {
        METRICS.events.count(source, EventResult::Refused);
        let sentence = format!("the body {what}");
        warn_ratelimited!("event_refused", "refused a message to /-/events: {sentence}");
        self.problem.get_or_insert(Problem::Malformed(sentence));
    }

    fn refused(&mut self, sentence: String) {
        METRICS.events.count(EventSource::Sns, EventResult::Refused);
        warn_ratelimited!("event_refused", "refused a message to /-/events: {sentence}");
        self.problem.get_or_insert(Problem::Refused(sentence));
    }

    /// The sender should send the body again, which therefore outweighs other problems.
    fn unavailable(&mut self, sentence: String) {
        METRICS.events.count(EventSource::Sns, EventResult::Failed);
        warn_ratelimited!("sns_unavailable", "a message of SNS can't be handled: {sentence}");
        self.problem = Some(Problem::Unavailable(sentence));
    }

    fn incomplete(&mut self, problem: &str) {
        let sentence = format!("not everything could be removed: {problem}");
        self.problem = Some(Problem::Incomplete(sentence));
    }

    /// Nothing is done for an event for which there is no time left. The sender sends it again.
    fn late(&mut self, source: EventSource) {
        // A reason to send the body again that is known already says more.
        if !matches!(self.problem, Some(Problem::Incomplete(_) | Problem::Unavailable(_))) {
            let sentence = "there was no time left for every event: send them again";
            self.problem = Some(Problem::Incomplete(sentence.to_owned()));
        }
        self.count(source, EventResult::Failed);
    }

    fn into_outcome(self) -> Outcome {
        let Report { events, purged, repeated, unmatched, ignored, failed, queued, .. } = self;
        let mut body = json!({
            "events": events,
            "purged": purged,
            "repeated": repeated,
            "unmatched": unmatched,
            "ignored": ignored,
            "failed": failed,
            "queued": queued,
            "confirmed": self.confirmed,
        });
        let (status, error, sentence) = match self.problem {
            None => return Outcome { status: 200, body, error: None },
            Some(Problem::Malformed(sentence)) => (400, "bad_request", sentence),
            Some(Problem::Refused(sentence)) => (403, "bad_request", sentence),
            Some(Problem::Unavailable(sentence)) => (502, "refresh_failed", sentence),
            Some(Problem::Incomplete(sentence)) => (500, "refresh_failed", sentence),
        };
        body["error"] = sentence.into();
        Outcome { status, body, error: Some(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn events_without_time_left_are_failed_and_sent_again() {
        let mut report = Report::default();
        report.late(EventSource::S3);
        report.late(EventSource::Sns);
        let outcome = report.into_outcome();
        assert_eq!((outcome.status, &outcome.body["failed"]), (500, &json!(2)));
        assert!(outcome.body["error"].as_str().unwrap().contains("no time left"));
        // A reason that is known says more, but not one that lets the sender drop the body.
        for (problem, status) in [
            (Problem::Unavailable("x".into()), 502),
            (Problem::Incomplete("x".into()), 500),
            (Problem::Malformed("x".into()), 500),
            (Problem::Refused("x".into()), 500),
        ] {
            let keeps = matches!(problem, Problem::Unavailable(_) | Problem::Incomplete(_));
            let mut report = Report { problem: Some(problem), ..Report::default() };
            report.late(EventSource::S3);
            let outcome = report.into_outcome();
            assert_eq!(outcome.status, status);
            assert_eq!(outcome.body["error"] == "x", keeps);
        }
    }

    #[test]
    fn time_for_events_is_documented() {
        let seconds = MAX_TIME.as_secs();
        assert_says("docs/events.md", &format!("may take {seconds} seconds together"));
    }
}
