//! The clock of last uses: sixteenths of a second in 32 bits, which cover four years before and after its start.
//!
//! It ignores changes of the system time, so that an entry never becomes older than one that was used before it.

use std::time::{Duration, Instant, SystemTime};

const TICKS_PER_SECOND: u64 = 16;
const START: u32 = 1 << 31;

#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Seconds that a test has added.
    #[cfg(test)]
    pub ahead: std::sync::atomic::AtomicU64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
            #[cfg(test)]
            ahead: Default::default(),
        }
    }

    pub fn wall_time(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// The current tick.
    pub fn now(&self) -> u32 {
        START.saturating_add(ticks(self.start.elapsed() + self.ahead()))
    }

    /// The tick at which an entry of this age was written.
    pub fn ago(&self, age: Duration) -> u32 {
        self.now().saturating_sub(ticks(age))
    }

    #[cfg(not(test))]
    fn ahead(&self) -> Duration {
        Duration::ZERO
    }

    #[cfg(test)]
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead.load(std::sync::atomic::Ordering::Relaxed))
    }
}

fn ticks(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_mul(TICKS_PER_SECOND);
    let part = u64::from(time.subsec_millis()) * TICKS_PER_SECOND / 1000;
    u32::try_from(whole.saturating_add(part)).unwrap_or(u32::MAX)
}
