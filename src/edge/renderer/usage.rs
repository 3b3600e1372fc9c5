//! The processor time and the memory of the edge and of its renderers (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::param::{clock_ticks_per_second, page_size};

use crate::sync::Mutex;

/// The renderer processes that have not exited, those of replaced configurations included.
static RENDERERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Of one process, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Since the start of the edge. It never falls.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

/// Adds a renderer that was started.
pub fn add(process: u32) {
    RENDERERS.lock().insert(process);
}

/// Removes a renderer that was waited for.
pub fn remove(process: u32) {
    RENDERERS.lock().remove(&process);
}

/// The usage of the edge and that of all renderers. `None` if /proc is not mounted.
pub fn read() -> Option<(Usage, Usage)> {
    static RENDERERS_TICKS: AtomicU64 = AtomicU64::new(0);
    let edge = std::process::id();
    // First: a renderer that exits meanwhile is then counted in neither place instead of in both.
    let ticks = Ticks::of(edge)?;
    let renderers = RENDERERS.lock();
    let living = renderers.iter().filter_map(|process| Ticks::of(*process)).map(|ticks| ticks.own);
    let sum = living.fold(ticks.children, u64::saturating_add);
    let sum = RENDERERS_TICKS.fetch_max(sum, Ordering::Relaxed).max(sum);
    let memory = renderers.iter().filter_map(|process| resident_bytes(*process));
    let usage = |ticks: u64, resident_bytes| Usage {
        cpu_seconds: ticks as f64 / clock_ticks_per_second() as f64,
        resident_bytes,
    };
    Some((usage(ticks.own, resident_bytes(edge)?), usage(sum, memory.sum())))
}

/// Processor time in clock ticks, of the user and the system.
struct Ticks {
    own: u64,
    /// Of the children that it has waited for: the edge has no other than renderers.
    children: u64,
}

impl Ticks {
    fn of(process: u32) -> Option<Ticks> {
        Ticks::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Ticks> {
        // The second field is the command in parentheses, which may contain any character. utime is the 14th.
        let (_, fields) = text.rsplit_once(") ")?;
        let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
        let mut sum = || ticks.next()??.checked_add(ticks.next()??);
        Some(Ticks { own: sum()?, children: sum()? })
    }
}

/// Resident memory in bytes (statm).
pub fn resident_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn resident_bytes_are_read_from_proc() {
        let bytes = resident_bytes(std::process::id()).unwrap();
        assert!((1 << 18..1 << 40).contains(&bytes), "{bytes}");
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn ticks_are_found_behind_any_command() {
        let stat = "7 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 30 4 5 20 0";
        let ticks = Ticks::parse(&stat.replace(" 11 12 30 4 5 ", " 30 4 5 6 ")).unwrap();
        assert_eq!((ticks.own, ticks.children), (34, 11));
        for text in ["", "7", "7 (a) S", "7 (a) S 1 2 3 4 5 6 7 8 9 10 30 4 5", "7 (a) S x y"] {
            assert!(Ticks::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn usage_of_renderers_does_not_fall_when_one_exits() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        add(child.id());
        let (edge, with_child) = read().unwrap();
        assert!(edge.resident_bytes > 0 && with_child.resident_bytes > 0, "{with_child:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        remove(child.id());
        let (later, without_child) = read().unwrap();
        assert!(without_child.cpu_seconds >= with_child.cpu_seconds);
        assert!(later.cpu_seconds >= edge.cpu_seconds);
    }
}
