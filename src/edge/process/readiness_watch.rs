//! Checks whether the server is ready: the renderer's latest answer to a ping, the credentials that it tells of, and the
//! cache directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::check_interval::check_interval;
use crate::config;
use crate::edge::net::shared::Shared;
use crate::edge::serve::readiness::Reason;
use crate::edge::serve::running_config::RunningConfig;
use crate::log::{info, warn};
use crate::renderer_status::{CredentialsStatus, RendererStatus};
use crate::time::unix_seconds;

/// Checks between two probes of a directory that could be written.
const PROBE_INTERVAL: u32 = 10;

/// How many checks later than two intervals a reading of a shared journal may end.
const MAX_LATE_CHECKS: u32 = 5;

/// Starts a thread that checks once per check interval, until every other reference to `shared` is dropped.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let readiness = Arc::clone(&shared.responder.readiness);
    let shared = Arc::downgrade(shared);
    let mut caches = Caches::default();
    let watch = move || {
        let mut was_ready = false;
        while let Some(shared) = shared.upgrade() {
            let running = shared.responder.running.get();
            let status = running.images.variants().renderer().status();
            let stores = running.images.handlers().flat_map(|handler| handler.config.stores());
            let directories = stores.map(|store| store.path.clone()).collect();
            let unread = of_journals(&running);
            // A directory may be on a network file system that hangs, so nothing else is held meanwhile.
            drop(running);
            drop(shared);
            let mut reasons = of_renderer(status.as_deref(), unix_seconds(SystemTime::now()));
            // A new renderer looks for credentials that its predecessor had found.
            if was_ready
                && reasons.iter().all(|reason| matches!(reason, Reason::CredentialsPending(_)))
            {
                reasons.clear();
            }
            reasons.extend(caches.check(directories));
            reasons.extend(unread);
            was_ready = reasons.is_empty();
            report(&reasons, &readiness.replace(reasons.clone()));
            thread::sleep(check_interval());
        }
    };
    thread::Builder::new().name("readiness".into()).spawn(watch).map(drop)
}

/// Logs a change.
fn report(reasons: &[Reason], previous: &[Reason]) {
    if reasons == previous {
        return;
    }
    if reasons.is_empty() {
        info!("became_ready", "ready to make images");
    } else if !reasons.iter().all(|reason| matches!(reason, Reason::CredentialsPending(_))) {
        let lines: Vec<String> = reasons.iter().map(Reason::to_string).collect();
        warn!("not_ready", "{}", lines.join("; "));
    }
}

fn of_renderer(status: Option<&RendererStatus>, now: u64) -> Vec<Reason> {
    let Some(status) = status else { return vec![Reason::Renderer] };
    let unusable = status.credentials.iter().filter(|(_, state)| !state.is_usable(now));
    let reason = |(route, state): (&String, &CredentialsStatus)| match state {
        CredentialsStatus::Pending => Reason::CredentialsPending(route.clone()),
        _ => Reason::CredentialsMissing(route.clone()),
    };
    unusable.map(reason).collect()
}

/// The shared journals that could not be read for a while. A single reading that fails is none.
fn of_journals(running: &RunningConfig) -> Vec<Reason> {
    let max_age = running.limits.purge_poll * 2 + check_interval() * MAX_LATE_CHECKS;
    let sharing = running.images.handlers().filter(|handler| handler.config.results.is_some());
    let unread = sharing.filter_map(|handler| {
        let error = handler.journal.problem(max_age)?;
        Some(Reason::PurgesUnread(handler.config.route.clone(), error))
    });
    let mut unread: Vec<Reason> = unread.collect();
    unread.sort_unstable_by_key(Reason::to_string);
    unread
}

/// The latest probe of each cache directory.
#[derive(Default)]
struct Caches(BTreeMap<PathBuf, Probe>);

struct Probe {
    error: Option<String>,
    /// The number of checks until the next one.
    checks: u32,
}

impl Caches {
    fn check(&mut self, directories: BTreeSet<PathBuf>) -> impl Iterator<Item = Reason> {
        self.0.retain(|path, _| directories.contains(path));
        for path in directories {
            match self.0.get_mut(&path) {
                Some(Probe { error: None, checks: checks @ 1.. }) => *checks -= 1,
                _ => {
                    let error = probe(&path).err().map(|error| error.to_string());
                    self.0.insert(path, Probe { error, checks: PROBE_INTERVAL });
                }
            }
        }
        self.0
            .iter()
            .filter_map(|(path, probe)| Some(Reason::Cache(path.clone(), probe.error.clone()?)))
    }
}

/// Writes a file that has no name and is gone when it is closed (open(2), `O_TMPFILE`): nothing is left behind, and the
/// directory does not change. Where the file system has no such files, a file with a name is created.
fn probe(directory: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => return config::prove_writable(directory),
        // It was deleted; the next renderer creates it again.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match file.write_all(b"s3imageserver") {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renderer_is_a_reason_until_it_answers_and_its_handlers_until_they_have_credentials() {
        assert_eq!(of_renderer(None, 100), [Reason::Renderer]);
        let text = "permits 2\ncredentials found never /a/\ncredentials found 101 /b/\n\
                    credentials found 100 /c/\ncredentials missing - /d/\ncredentials pending - /e/\n";
        let status = RendererStatus::parse(text).unwrap();
        let expected = [
            Reason::CredentialsMissing("c".into()),
            Reason::CredentialsMissing("d".into()),
            Reason::CredentialsPending("e".into()),
        ];
        assert_eq!(of_renderer(Some(&status), 100), expected);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        probe(temp.path()).unwrap();
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
        probe(&temp.path().join("deleted")).unwrap();
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
        let file = temp.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert_eq!(probe(&file).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert!(probe(Path::new("/proc")).is_err());
    }

    #[test]
    fn a_broken_directory_is_probed_at_each_check_and_others_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let [good, bad] = ["good", "bad"].map(|name| temp.path().join(name));
        std::fs::create_dir(&good).unwrap();
        std::fs::write(&bad, b"").unwrap();
        let mut caches = Caches::default();
        let both = || BTreeSet::from([good.clone(), bad.clone()]);
        let reasons: Vec<Reason> = caches.check(both()).collect();
        assert!(matches!(&reasons[..], [Reason::Cache(path, _)] if *path == bad), "{reasons:?}");
        std::fs::remove_file(&bad).unwrap();
        std::fs::create_dir(&bad).unwrap();
        std::fs::remove_dir(&good).unwrap();
        std::fs::write(&good, b"").unwrap();
        assert_eq!(caches.check(both()).count(), 0, "only the broken one is probed again");
        for _ in 1..PROBE_INTERVAL {
            assert_eq!(caches.check(both()).count(), 0);
        }
        let reasons: Vec<Reason> = caches.check(both()).collect();
        assert!(matches!(&reasons[..], [Reason::Cache(path, _)] if *path == good), "{reasons:?}");
        assert_eq!(caches.check(BTreeSet::new()).count(), 0, "it is not configured any more");
    }
}
