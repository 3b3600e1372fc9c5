//! The processors and the memory that this process may use: the defaults of the configuration depend on them.
//!
//! Limits are those of the control group, version 2 (Linux, Documentation/admin-guide/cgroup-v2.rst): each directory on
//! the way from the root of the cgroup namespace to the process's own limits it.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// The value of a file without a limit.
const NO_LIMIT: &str = "max";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// At least 1.
    pub processors: usize,
    /// Whether a `cpu.max` is the reason for their number.
    pub is_cpu_limited: bool,
    /// The smallest `memory.max` in bytes; `None` without a limit.
    pub memory: Option<u64>,
}

static CURRENT: OnceLock<Machine> = OnceLock::new();

/// What the process may use, read once. A change while it runs does not count: buffers and threads have their sizes.
pub fn current() -> Machine {
    *CURRENT.get_or_init(|| {
        let processors = available_parallelism().map_or(1, |count| count.get());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Machine::read(Path::new("/sys/fs/cgroup"), &own, processors)
    })
}

/// Replaces what [`current`] would read; must come before its first call.
pub fn set(machine: Machine) {
    let _ = CURRENT.set(machine);
}

impl Machine {
    /// `own` is the text of `/proc/self/cgroup`.
    fn read(root: &Path, own: &str, processors: usize) -> Machine {
        let mut limits = Machine { processors, is_cpu_limited: false, memory: None };
        for directory in directories(root, own) {
            let read = |name| fs::read_to_string(directory.join(name)).unwrap_or_default();
            if let Some(bytes) = memory_max(&read("memory.max")) {
                limits.memory = Some(limits.memory.map_or(bytes, |other| other.min(bytes)));
            }
            if let Some(count) = cpu_max(&read("cpu.max"))
                && count <= limits.processors
            {
                limits.processors = count;
                limits.is_cpu_limited = true;
            }
        }
        limits
    }

    /// This fraction of the memory limit, or `otherwise` without one.
    pub fn memory_part(&self, divisor: u64, otherwise: u64) -> u64 {
        self.memory.map_or(otherwise, |bytes| bytes / divisor)
    }
}

/// The directories of the process's own cgroup and of those around it.
fn directories(root: &Path, own: &str) -> Vec<PathBuf> {
    // The line of version 2 (cgroups(7)).
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let is_normal = |component: Component| matches!(component, Component::Normal(_));
    // Outside of the namespace (`/../…`), or removed: only the root is known.
    let own = match Path::new(path) {
        path if path.components().all(is_normal) => root.join(path),
        _ => root.to_owned(),
    };
    own.ancestors()
        .take_while(|directory| directory.starts_with(root))
        .map(Path::to_owned)
        .collect()
}

fn memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// The processors of `quota period`, both in microseconds, rounded down as the standard library does.
fn cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    if quota == NO_LIMIT {
        return None;
    }
    let (quota, period): (usize, usize) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_div(period).map(|count| count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let root = tree(&[
            ("a/memory.max", "2147483648\n"),
            ("a/cpu.max", "300000 100000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/c/memory.max", "4294967296\n"),
            ("a/b/c/cpu.max", "650000 100000\n"),
            ("other/memory.max", "1048576\n"),
        ]);
        let read = |own: &str| Machine::read(root.path(), own, 8);
        let limited = Machine { processors: 3, is_cpu_limited: true, memory: Some(2048 * MIB) };
        assert_eq!(read("0::/a/b/c\n"), limited);
        assert_eq!(read("12:memory:/other\n0::/a/b\n"), limited);
        assert_eq!(read("0::/other\n").memory, Some(MIB));
        let unlimited = Machine { processors: 8, is_cpu_limited: false, memory: None };
        for own in ["0::/\n", "", "12:memory:/other\n", "0::/../other\n", "0::/a/../other\n"] {
            assert_eq!(read(own), unlimited, "{own:?}");
        }
        // In a container, the root of its namespace has the limits.
        let root = tree(&[("memory.max", "536870912\n"), ("cpu.max", "50000 100000\n")]);
        for own in ["0::/\n", "0::/missing/child\n", "0::/../../host.slice\n"] {
            let expected = Machine { processors: 1, is_cpu_limited: true, memory: Some(512 * MIB) };
            assert_eq!(Machine::read(root.path(), own, 8), expected, "{own:?}");
        }
    }

    #[test]
    fn malformed_limits_are_no_limits() {
        for (name, text) in [
            ("memory.max", ""),
            ("memory.max", "0"),
            ("memory.max", "-1"),
            ("memory.max", "99999999999999999999999"),
            ("memory.max", "12k"),
            ("cpu.max", "100000"),
            ("cpu.max", "100000 0"),
            ("cpu.max", "a b"),
            ("cpu.max", "-100000 100000"),
        ] {
            let root = tree(&[(name, text)]);
            let read = Machine::read(root.path(), "0::/", 2);
            assert_eq!((read.processors, read.memory), (2, None), "{name} {text}");
        }
    }

    #[test]
    fn a_quota_is_rounded_down_to_at_least_one_processor() {
        for (text, processors) in
            [("1000 100000", 1), ("199999 100000", 1), ("200000 100000", 2), ("900000 100000", 4)]
        {
            let root = tree(&[("cpu.max", text)]);
            assert_eq!(Machine::read(root.path(), "0::/", 4).processors, processors, "{text}");
        }
    }
}
