//! The metrics of events about objects in buckets.

use super::family::{EVENT_LAG, EVENT_RENDERS, EVENT_RENDERS_WAITING, EVENTS};
use super::labels::{By, EventRender, EventResult, EventSource};
use super::text::Writer;
use super::values::{Counter, Gauge, Histogram};

#[derive(Debug, Default)]
pub struct Events {
    counts: By<EventSource, By<EventResult, Counter>>,
    pub lag: Histogram,
    pub renders: By<EventRender, Counter>,
    pub renders_waiting: Gauge,
}

impl Events {
    pub fn count(&self, source: EventSource, result: EventResult) {
        self.counts.get(source).get(result).add(1);
    }

    pub fn write(&self, writer: &mut Writer) {
        let mut samples = writer.family(EVENTS);
        for (source, counts) in self.counts.iter() {
            for (result, counter) in counts.iter().filter(|(_, counter)| counter.get() > 0) {
                samples.add(&[source, result], counter.get());
            }
        }
        writer.family(EVENT_LAG).histogram(&[], &self.lag);
        let mut samples = writer.family(EVENT_RENDERS);
        self.renders.iter().for_each(|(name, counter)| samples.add(&[name], counter.get()));
        writer.family(EVENT_RENDERS_WAITING).add(&[], self.renders_waiting.get());
    }
}
