//! Processes, as shown by /proc.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A process, distinguished from a later one with the same id by its start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub id: u32,
    started: String,
}

impl Process {
    /// A process that is alive.
    #[track_caller]
    pub fn of(id: u32) -> Process {
        Process { id, started: Stat::of(id).expect("the process is alive").started }
    }

    /// The children of a process, without zombies.
    pub fn children_of(parent: u32) -> Vec<Process> {
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        numbers
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|id| {
                Stat::of(id)
                    .filter(|stat| stat.parent == parent && stat.lives)
                    .map(|stat| (id, stat))
            })
            .map(|(id, stat)| Process { id, started: stat.started })
            .collect()
    }

    /// The number of children, including zombies.
    pub fn count_children_and_zombies(parent: u32) -> usize {
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let ids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(Stat::of).filter(|stat| stat.parent == parent).count()
    }

    pub fn lives(&self) -> bool {
        Stat::of(self.id).is_some_and(|stat| stat.lives && stat.started == self.started)
    }

    /// Its CPU time in ticks of 10 ms.
    pub fn work(&self) -> u64 {
        Stat::of(self.id).map_or(0, |stat| stat.work)
    }

    /// Whether none of its threads is running or waiting for a processor.
    pub fn is_asleep(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id)).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let states: Vec<char> =
            stats.filter_map(|stat| stat.rsplit(") ").next()?.chars().next()).collect();
        !states.is_empty() && !states.contains(&'R')
    }

    /// The number of its threads.
    pub fn threads(&self) -> usize {
        self.entries("task")
    }

    /// The number of its open file descriptors.
    pub fn descriptors(&self) -> usize {
        self.entries("fd")
    }

    fn entries(&self, directory: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{directory}", self.id)).map_or(0, |entries| entries.count())
    }

    /// Its resident memory in bytes.
    #[track_caller]
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Its peak resident memory in bytes.
    #[track_caller]
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    #[track_caller]
    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    pub fn niceness(&self) -> i64 {
        Stat::of(self.id).unwrap().niceness
    }

    /// Waits until it has used another 200 ms of CPU time.
    #[track_caller]
    pub fn wait_until_at_work(&self) {
        let before = self.work();
        eventually("the process uses CPU time", || self.work() >= before + 20);
    }

    pub fn signal(&self, signal: Signal) {
        if self.lives() {
            send(self.id, signal);
        }
    }
}

/// Sends a signal to a child of the test.
pub fn send(id: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    // It may have exited.
    let _ = kill_process(id, signal);
}

struct Stat {
    lives: bool,
    parent: u32,
    started: String,
    work: u64,
    niceness: i64,
}

impl Stat {
    fn of(id: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The second field is the name in parentheses and may hold anything.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        // The main thread may have exited while others still hold file descriptors.
        let threads = fs::read_dir(format!("/proc/{id}/task")).map_or(0, |tasks| tasks.count());
        let lives = !matches!(*fields.first()?, "Z" | "X") || threads > 1;
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        Some(Stat {
            lives,
            parent: fields.get(1)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
            work: (number(11)? + number(12)?).unsigned_abs(),
            niceness: number(16)?,
        })
    }
}
