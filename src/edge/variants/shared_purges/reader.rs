//! Reads a shared journal: which of its purges are new.
//!
//! Each reading begins [`OVERLAP`] before the previous one, because a name may appear a little later than those after it:
//! it is written some time after its time. The names that were applied are remembered for as long as they are read again.

use std::collections::BTreeSet;
use std::time::Instant;

use super::position::Position;
use crate::shared_journal::{self, MAX_AHEAD, OVERLAP, Page, PurgeName, RETENTION};
use crate::time::milliseconds;

/// Pages of one reading. A server that has missed more purges drops its caches instead of applying them.
const MAX_PAGES: usize = 100;
/// How many ignored names are reported.
const MAX_REPORTED: usize = 3;
/// The longest part of an ignored name that is reported.
const MAX_TEXT: usize = 120;

/// Reads the page of the journal after a name.
pub type ReadPage<'p> = &'p dyn Fn(&str) -> Result<Page, String>;

/// What has been read of one journal.
#[derive(Debug, Default)]
pub struct Reader {
    /// The time of the bucket at the latest reading, and when that was.
    read_to: Option<(u64, Instant)>,
    /// Names that are applied and will be read again.
    applied: BTreeSet<PurgeName>,
}

/// The result of a reading.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The time of the bucket when the reading began.
    pub now: u64,
    pub purges: Vec<PurgeName>,
    /// There are too many names to read, or nothing was read for longer than the journal goes back.
    pub is_incomplete: bool,
    /// The number of names that are not those of purges, and the first of them.
    pub ignored: (usize, Vec<String>),
}

impl Reader {
    /// Reads what is new. Nothing counts as read before [`Reader::commit`]. `joined` are the positions of directories
    /// that have not followed this journal so far.
    pub fn read(&self, joined: &[Position], now: u64, page: ReadPage) -> Result<News, String> {
        let mut after = self.start(joined, now);
        let mut news = News::default();
        let mut limit = String::new();
        for number in 0..=MAX_PAGES {
            if number == MAX_PAGES {
                news.is_incomplete = true;
                break;
            }
            let Page { now, names, is_truncated } = page(&after)?;
            if number == 0 {
                news.now = now;
                limit = shared_journal::at(now.saturating_add(milliseconds(MAX_AHEAD)));
            }
            // S3 may list fewer names than it is asked for. The end is where it says so.
            if names.is_empty() && is_truncated {
                return Err(
                    "the results bucket lists no objects, but says that there are more".to_owned()
                );
            }
            let goes_on = names.first().is_none_or(|first| after.is_empty() || *first > after);
            if !goes_on || !names.is_sorted() {
                return Err("the results bucket does not list its objects in order".to_owned());
            }
            for name in &names {
                if *name < limit {
                    self.add(name, &mut news);
                } else {
                    news.add_ignored(name);
                }
            }
            match names.last() {
                Some(last) if is_truncated && *last < limit => after.clone_from(last),
                _ => break,
            }
        }
        let retention = milliseconds(RETENTION);
        let gap = self.read_to.map_or(0, |(time, _)| news.now.saturating_sub(time));
        news.is_incomplete |= gap > retention;
        Ok(news)
    }

    /// The name after which to read.
    fn start(&self, joined: &[Position], now: u64) -> String {
        let own = self.read_to.map(|(time, _)| Position::At(time));
        // Nothing is older than the start of this server: for that its own clock suffices, because the next reading goes
        // by the clock of the bucket.
        let fallback = Position::At(now);
        let known = joined.iter().copied().filter(|position| *position != Position::Empty);
        match known.chain(own).min().unwrap_or(fallback) {
            Position::At(time) => shared_journal::at(time.saturating_sub(milliseconds(OVERLAP))),
            _ => String::new(),
        }
    }

    /// The time of the oldest purge that may be news for those who have followed so far.
    pub fn first_new(&self) -> u64 {
        self.read_to.map_or(0, |(time, _)| time.saturating_sub(milliseconds(OVERLAP)))
    }

    fn add(&self, name: &str, news: &mut News) {
        match PurgeName::parse(name) {
            Some(name) if self.applied.contains(&name) => {}
            Some(name) => news.purges.push(name),
            None => news.add_ignored(name),
        }
    }

    /// Remembers that the news are applied. Returns the time up to which the journal is.
    pub fn commit(&mut self, news: &News, at: Instant) -> u64 {
        let overlap = milliseconds(OVERLAP);
        // One machine of the bucket with a wrong clock must not make this one skip purges.
        let read_to = self.read_to.map_or(news.now, |(time, then)| {
            let elapsed = milliseconds(at.saturating_duration_since(then));
            news.now.min(time.saturating_add(elapsed).saturating_add(overlap / 2))
        });
        self.read_to = Some((read_to, at));
        let oldest = read_to.saturating_sub(overlap);
        self.applied.extend(news.purges.iter().filter(|name| name.time >= oldest));
        self.applied.retain(|name| name.time >= oldest);
        read_to
    }
}

impl News {
    fn add_ignored(&mut self, name: &str) {
        let (count, names) = &mut self.ignored;
        *count += 1;
        if names.len() < MAX_REPORTED {
            names.push(name.get(..name.floor_char_boundary(MAX_TEXT)).unwrap_or_default().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::documents::assert_says;
    use crate::shared_journal::{MAX_NAMES, Target, TargetKind, at};

    const NOW: u64 = 1_795_361_381_000;

    fn name(time: u64, key: &str) -> PurgeName {
        PurgeName { time, node: 7, target: Target::new("h", key, TargetKind::Key) }
    }

    /// A bucket with these names that lists `per_page` at once.
    fn bucket(names: Vec<String>, per_page: usize) -> impl Fn(&str) -> Result<Page, String> {
        let names: BTreeSet<String> = names.into_iter().collect();
        move |after: &str| {
            let rest: Vec<_> = names.iter().filter(|name| name.as_str() > after).collect();
            let is_truncated = rest.len() > per_page;
            let names = rest.into_iter().take(per_page).cloned().collect();
            Ok(Page { now: NOW, names, is_truncated })
        }
    }

    fn texts(names: &[PurgeName]) -> Vec<String> {
        names.iter().map(PurgeName::to_string).collect()
    }

    fn read(reader: &Reader, joined: &[Position], names: &[PurgeName]) -> Vec<PurgeName> {
        reader.read(joined, NOW, &bucket(texts(names), 2)).unwrap().purges
    }

    #[test]
    fn a_purge_is_news_once() {
        let mut reader = Reader::default();
        let names = [name(NOW - 5, "a"), name(NOW - 4, "b"), name(NOW - 3, "c")];
        let news = reader.read(&[Position::Empty], NOW, &bucket(texts(&names), 2)).unwrap();
        assert_eq!((news.purges.as_slice(), news.is_incomplete), (&names[..], false));
        assert_eq!(read(&reader, &[], &names), names, "it was not committed");
        assert_eq!(reader.first_new(), 0);
        reader.commit(&news, Instant::now());
        assert_eq!(reader.first_new(), NOW - milliseconds(OVERLAP));
        assert_eq!(read(&reader, &[], &names), []);
        let late = name(NOW - 50_000, "late");
        let all = [&names[..], &[late]].concat();
        assert_eq!(read(&reader, &[], &all), [late], "an older name that appears later");
        let too_late = name(NOW - milliseconds(OVERLAP) - 1, "too late");
        assert_eq!(read(&reader, &[], &[too_late]), []);
    }

    #[test]
    fn names_from_clocks_that_differ_are_read_once() {
        let mut reader = Reader::default();
        let ahead = [name(NOW + 50_000, "a"), name(NOW + 800_000, "b")];
        let behind = name(NOW - 50_000, "c");
        let news = reader.read(&[], NOW, &bucket(texts(&ahead), 9)).unwrap();
        assert_eq!(news.purges, ahead);
        reader.commit(&news, Instant::now());
        let all = [&ahead[..], &[behind]].concat();
        assert_eq!(read(&reader, &[], &all), [behind], "names ahead don't hide names behind");
        // Beyond what any clock may be ahead.
        let news = reader.read(&[], NOW, &bucket(texts(&[name(NOW + 901_000, "d")]), 9)).unwrap();
        assert_eq!((news.purges.len(), news.ignored.0), (0, 1));
    }

    #[test]
    fn a_bucket_with_one_wrong_clock_hides_no_purge() {
        let mut reader = Reader::default();
        let start = Instant::now();
        let read_to = |reader: &mut Reader, now, seconds| {
            let news = News { now, ..News::default() };
            reader.commit(&news, start + Duration::from_secs(seconds))
        };
        assert_eq!(read_to(&mut reader, NOW, 0), NOW);
        assert_eq!(read_to(&mut reader, NOW + 3_600_000, 2), NOW + 2000 + 30_000);
        assert_eq!(read_to(&mut reader, NOW + 4000, 4), NOW + 4000);
    }

    #[test]
    fn a_server_reads_from_its_position_and_the_oldest_of_its_directories_counts() {
        let reader = Reader::default();
        let hour = 3_600_000;
        let names = [name(5, "old"), name(NOW - 2 * hour, "b"), name(NOW - 1, "c")];
        let position = |ago| Position::At(NOW - ago * hour);
        for (joined, expected) in [
            (&[][..], &names[2..]),
            (&[Position::Empty], &names[2..]),
            (&[position(1), Position::Empty], &names[2..]),
            (&[position(1), position(3)], &names[1..]),
            (&[position(1), Position::Unknown], &names[..]),
            (&[Position::Damaged, position(1)], &names[..]),
        ] {
            assert_eq!(read(&reader, joined, &names), expected, "{joined:?}");
        }
    }

    #[test]
    fn other_names_are_counted_and_stop_nothing() {
        let reader = Reader::default();
        let good = name(NOW - 1, "a");
        let mut names = texts(&[good]);
        names.extend((0..20).map(|number| format!("{}-{number}\u{1f4a5}/../", at(NOW - 2))));
        names.extend(["".into(), "!".into(), "zzz".into(), "z".repeat(1024)]);
        names.push(format!("{good}\r\nX: y"));
        let page = bucket(names, 3);
        let news = reader.read(&[Position::Unknown], NOW, &page).unwrap();
        assert_eq!(news.purges, [good]);
        let (count, reported) = news.ignored;
        assert!(count >= 22 && reported.len() == MAX_REPORTED, "{count}");
        assert!(reported.iter().all(|name| name.len() <= MAX_TEXT));
    }

    #[test]
    fn too_many_names_and_a_long_gap_are_incomplete() {
        let reader = Reader::default();
        let names: Vec<_> = (0..1000).map(|n| name(NOW - 1000 + n, &n.to_string())).collect();
        let news = reader.read(&[], NOW, &bucket(texts(&names), 2)).unwrap();
        assert!(news.is_incomplete && news.purges.len() == 2 * MAX_PAGES);
        let mut reader = Reader::default();
        let long_ago = News { now: NOW - milliseconds(RETENTION) - 1, ..News::default() };
        reader.commit(&long_ago, Instant::now());
        assert!(reader.read(&[], NOW, &bucket(Vec::new(), 2)).unwrap().is_incomplete);
    }

    #[test]
    fn maximum_of_missed_purges_is_as_documented() {
        assert_eq!(MAX_PAGES * MAX_NAMES, 100_000);
        assert_says("docs/cache.md", "if it has missed 100,000 purges or more");
    }

    #[test]
    fn a_bucket_that_repeats_itself_or_fails_is_an_error() {
        let reader = Reader::default();
        let same = |_: &str| {
            let names = texts(&[name(NOW, "a")]);
            Ok(Page { now: NOW, names, is_truncated: true })
        };
        assert!(reader.read(&[], NOW, &same).unwrap_err().contains("in order"));
        // Nothing counts as read, also if it is not the first page.
        let purge = texts(&[name(NOW - 1, "a")]);
        for first in [Vec::new(), purge.clone()] {
            let empty = |after: &str| {
                let names = if *after < *purge[0] { first.clone() } else { Vec::new() };
                Ok(Page { now: NOW, names, is_truncated: true })
            };
            assert!(reader.read(&[], NOW, &empty).unwrap_err().contains("there are more"));
        }
        let fails = |_: &str| Err("no answer".to_owned());
        assert_eq!(reader.read(&[], NOW, &fails).unwrap_err(), "no answer");
    }
}
