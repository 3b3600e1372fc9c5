//! Counters, gauges and histograms. Each is exact; values that are read together may differ by what is counted meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::microseconds;

/// The upper bounds of all histograms, in microseconds: a hit takes tens of them, `origin_timeout` and
/// `render_timeout` are tens of seconds.
pub const BOUNDS: [u64; 20] = [
    50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 20_000_000, 40_000_000, 80_000_000,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds 1 until the result is dropped.
    pub fn hold(&'static self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }

    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of the things that a gauge counts.
#[derive(Debug)]
pub struct Held(&'static Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By bound, not cumulative; the last one is of longer durations.
    buckets: [Counter; BOUNDS.len() + 1],
    /// In microseconds.
    sum: Counter,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let microseconds = microseconds(took);
        let bucket = BOUNDS.iter().position(|bound| microseconds <= *bound);
        if let Some(bucket) = self.buckets.get(bucket.unwrap_or(BOUNDS.len())) {
            bucket.add(1);
        }
        self.sum.add(microseconds);
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.get() == 0)
    }

    /// The number of durations up to each bound, and then the number of all.
    pub fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut count: u64 = 0;
        self.buckets.each_ref().map(|bucket| {
            count = count.saturating_add(bucket.get());
            count
        })
    }

    /// The sum of all durations, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum.get() as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        assert!(histogram.is_empty());
        for microseconds in [0, 50, 51, 80_000_000, 80_000_001, 90_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let counts = histogram.cumulative();
        assert_eq!((counts[0], counts[1], counts[18], counts[19], counts[20]), (2, 3, 3, 4, 6));
        assert_eq!(histogram.sum(), 250.000_102);
        assert!(!histogram.is_empty());
    }

    #[test]
    fn bounds_ascend() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
    }
}
