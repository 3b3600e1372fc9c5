//! What a request to the renderer took, phase by phase, and how much it fetched and computed.
//!
//! The renderer measures it and sends it in a header of its response ([`crate::wire::PHASES_HEADER`]), also with a
//! failure, as far as the request got:
//!
//! ```text
//! shared=1200:0:miss fetch=48213:2345678:fetched:0 permit=7 decode=1290 encode=90313 in=jpg:12000000 out=webp:90000
//! ```
//!
//! `shared` has the time, the bytes of the image and the outcome of a lookup in the results bucket. `fetch` has the time, the bytes of the body, the outcome and the retries; `in` and `out` have format and pixels of all frames.
//! Times are in microseconds. Parts of 0 and unknown parts are left out.

use std::fmt;
use std::time::Duration;

use crate::error::Code;
use crate::media_type::MediaType;
use crate::time::microseconds;

/// The phases of one request to the renderer. A variant of the cache, and a request that shared the work of another
/// one, has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// The wait for a connection to the renderer. The edge measures it, so it is not in the header.
    pub queue: Duration,
    /// `None` if the results bucket was not asked.
    pub shared: Option<SharedLookup>,
    /// `None` if the origin was not asked: the original was cached, or another request fetched it.
    pub fetch: Option<Fetch>,
    /// The wait for a permit to render.
    pub permit: Duration,
    /// From the permit to the start of the encoder, and the examination of the container before it.
    pub decode: Duration,
    /// The encoder. libvips computes pixels when they are asked for: what a step or a decoder does not compute at once
    /// is computed here.
    pub encode: Duration,
    /// Of the original.
    pub input: Option<Side>,
    /// Of the result.
    pub output: Option<Side>,
}

/// A lookup in the results bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLookup {
    pub took: Duration,
    /// Bytes of the image that was found.
    pub bytes: u64,
    pub outcome: SharedOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedOutcome {
    /// It was found, fresh or stale.
    Hit,
    Miss,
    /// What was found is not what it claims to be.
    Damaged,
    /// The bucket did not answer in time, or refused.
    Failed,
}

impl SharedOutcome {
    pub const ALL: &[SharedOutcome] =
        &[SharedOutcome::Hit, SharedOutcome::Miss, SharedOutcome::Damaged, SharedOutcome::Failed];

    pub const fn name(self) -> &'static str {
        match self {
            SharedOutcome::Hit => "hit",
            SharedOutcome::Miss => "miss",
            SharedOutcome::Damaged => "damaged",
            SharedOutcome::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Option<SharedOutcome> {
        SharedOutcome::ALL.iter().copied().find(|outcome| outcome.name() == name)
    }
}

/// What is at one end of the pipeline: the original, or the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub media_type: MediaType,
    /// Of all frames that are read or written.
    pub pixels: u64,
}

/// The requests to an origin for one original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub took: Duration,
    /// Bytes of the original, without its `Content-Encoding`.
    pub bytes: u64,
    pub outcome: FetchOutcome,
    /// Requests that were sent again after a closed connection or a 5xx.
    pub retries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    Fetched,
    NotModified,
    NotFound,
    Failed,
}

impl FetchOutcome {
    pub const ALL: &[FetchOutcome] = &[
        FetchOutcome::Fetched,
        FetchOutcome::NotModified,
        FetchOutcome::NotFound,
        FetchOutcome::Failed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            FetchOutcome::Fetched => "fetched",
            FetchOutcome::NotModified => "not_modified",
            FetchOutcome::NotFound => "not_found",
            FetchOutcome::Failed => "failed",
        }
    }

    pub fn of_failure(code: Code) -> FetchOutcome {
        match code {
            Code::NotFound | Code::NotShown => FetchOutcome::NotFound,
            _ => FetchOutcome::Failed,
        }
    }

    fn parse(name: &str) -> Option<FetchOutcome> {
        FetchOutcome::ALL.iter().copied().find(|outcome| outcome.name() == name)
    }
}

impl Phases {
    /// Adds a fetch. A request has two if the entry that the first one revalidated can't be read.
    pub fn add_fetch(&mut self, fetch: Fetch) {
        self.fetch = Some(match self.fetch {
            None => fetch,
            Some(one) => Fetch {
                took: one.took.saturating_add(fetch.took),
                bytes: one.bytes.saturating_add(fetch.bytes),
                retries: one.retries.saturating_add(fetch.retries),
                outcome: fetch.outcome,
            },
        });
    }

    /// In a box, for an answer; `None` if nothing was measured.
    pub fn boxed(self) -> Option<Box<Phases>> {
        (self != Phases::default()).then(|| Box::new(self))
    }

    /// Parses the header of a response. `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Phases> {
        let mut phases = Phases::default();
        for part in text.split_ascii_whitespace() {
            let (name, value) = part.split_once('=')?;
            match name {
                "shared" => phases.shared = Some(parse_shared(value)?),
                "fetch" => phases.fetch = Some(parse_fetch(value)?),
                "permit" => phases.permit = parse_time(value)?,
                "decode" => phases.decode = parse_time(value)?,
                "encode" => phases.encode = parse_time(value)?,
                "in" => phases.input = Some(parse_side(value)?),
                "out" => phases.output = Some(parse_side(value)?),
                _ => return None,
            }
        }
        Some(phases)
    }
}

fn parse_time(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_micros)
}

fn parse_shared(value: &str) -> Option<SharedLookup> {
    let mut values = value.split(':');
    let took = parse_time(values.next()?)?;
    let bytes = values.next()?.parse().ok()?;
    let outcome = SharedOutcome::parse(values.next()?)?;
    values.next().is_none().then_some(SharedLookup { took, bytes, outcome })
}

fn parse_fetch(value: &str) -> Option<Fetch> {
    let mut values = value.split(':');
    let took = parse_time(values.next()?)?;
    let bytes = values.next()?.parse().ok()?;
    let outcome = FetchOutcome::parse(values.next()?)?;
    let retries = values.next()?.parse().ok()?;
    values.next().is_none().then_some(Fetch { took, bytes, outcome, retries })
}

fn parse_side(value: &str) -> Option<Side> {
    let (name, pixels) = value.split_once(':')?;
    Some(Side { media_type: MediaType::parse(name)?, pixels: pixels.parse().ok()? })
}

/// The value of the header, without the wait in the queue.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(SharedLookup { took, bytes, outcome }) = self.shared {
            write!(f, "shared={}:{bytes}:{}", microseconds(took), outcome.name())?;
            separator = " ";
        }
        if let Some(Fetch { took, bytes, outcome, retries }) = self.fetch {
            let (took, outcome) = (microseconds(took), outcome.name());
            write!(f, "{separator}fetch={took}:{bytes}:{outcome}:{retries}")?;
            separator = " ";
        }
        for (name, time) in
            [("permit", self.permit), ("decode", self.decode), ("encode", self.encode)]
        {
            if !time.is_zero() {
                write!(f, "{separator}{name}={}", microseconds(time))?;
                separator = " ";
            }
        }
        for (name, side) in [("in", self.input), ("out", self.output)] {
            if let Some(Side { media_type, pixels }) = side {
                write!(f, "{separator}{name}={}:{pixels}", media_type.name())?;
                separator = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn phases() -> Phases {
        Phases {
            queue: Duration::ZERO,
            shared: Some(SharedLookup {
                took: Duration::from_micros(1200),
                bytes: 0,
                outcome: SharedOutcome::Miss,
            }),
            fetch: Some(Fetch {
                took: Duration::from_micros(48_213),
                bytes: 2_345_678,
                outcome: FetchOutcome::Fetched,
                retries: 1,
            }),
            permit: Duration::from_micros(7),
            decode: Duration::from_micros(1290),
            encode: Duration::from_micros(90_313),
            input: Some(Side { media_type: Format::Jpeg.into(), pixels: 12_000_000 }),
            output: Some(Side { media_type: Format::Webp.into(), pixels: 90_000 }),
        }
    }

    #[test]
    fn phases_round_trip_with_any_part_missing() {
        let text = phases().to_string();
        assert_eq!(
            text,
            "shared=1200:0:miss fetch=48213:2345678:fetched:1 permit=7 decode=1290 encode=90313 \
             in=jpg:12000000 out=webp:90000"
        );
        for missing in 0..1 << 7 {
            let mut some = phases();
            let is_missing = |bit: u32| missing & (1 << bit) != 0;
            some.fetch = some.fetch.filter(|_| !is_missing(0));
            some.shared = some.shared.filter(|_| !is_missing(6));
            some.input = some.input.filter(|_| !is_missing(1));
            some.output = some.output.filter(|_| !is_missing(2));
            for (bit, time) in [(3, &mut some.permit), (4, &mut some.decode), (5, &mut some.encode)]
            {
                if is_missing(bit) {
                    *time = Duration::ZERO;
                }
            }
            assert_eq!(Phases::parse(&some.to_string()), Some(some));
        }
        assert_eq!(Phases::default().to_string(), "");
        for outcome in FetchOutcome::ALL {
            assert_eq!(FetchOutcome::parse(outcome.name()), Some(*outcome));
        }
        for outcome in SharedOutcome::ALL {
            assert_eq!(SharedOutcome::parse(outcome.name()), Some(*outcome));
        }
    }

    #[test]
    fn malformed_phases_are_refused() {
        for text in [
            "decode",
            "decode=",
            "decode=-1",
            "decode=1.5",
            "decode=18446744073709551616",
            "other=1",
            "shared=1",
            "shared=1:2",
            "shared=1:2:found",
            "shared=1:-2:hit",
            "shared=1:2:hit:3",
            "fetch=1",
            "fetch=1:2",
            "fetch=1:2:fetched",
            "fetch=1:2:eaten:0",
            "fetch=1:2:fetched:-1",
            "fetch=1:2:fetched:3:4",
            "in=jpg",
            "in=html:1",
            "out=jpg:x",
        ] {
            assert_eq!(Phases::parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_fetches_are_added_up_and_the_last_outcome_counts() {
        let mut phases = Phases::default();
        let took = Duration::from_micros(5);
        let fetch = |bytes, outcome| Fetch { took, bytes, outcome, retries: 1 };
        phases.add_fetch(fetch(0, FetchOutcome::NotModified));
        phases.add_fetch(fetch(3, FetchOutcome::Fetched));
        assert_eq!(phases.to_string(), "fetch=10:3:fetched:2");
    }

    #[test]
    fn phases_without_a_measurement_are_left_out_of_an_answer() {
        assert_eq!(Phases::default().boxed(), None);
        assert!(phases().boxed().is_some());
    }
}
