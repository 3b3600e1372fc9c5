//! Messages to the service manager: systemd, or another one that sets `NOTIFY_SOCKET` (sd_notify(3)).

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::log::warn_ratelimited;

/// Interval of the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// A reload or a stop does not wait longer for a manager that reads no messages.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// The shortest interval of messages.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct ServiceManager {
    /// `None`: there is no manager.
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The manager kills this process after this time without a `WATCHDOG=1` (sd_watchdog_enabled(3)).
    watchdog: Option<Duration>,
}

impl ServiceManager {
    pub fn from_environment() -> ServiceManager {
        ServiceManager::new(&|name| std::env::var_os(name))
    }

    fn new(variable: &dyn Fn(&str) -> Option<OsString>) -> ServiceManager {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let socket = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            connect(name.as_bytes())
                .map_err(|error| {
                    warn_ratelimited!("notify_failed", "NOTIFY_SOCKET: {name:?}: {error}");
                })
                .ok()
        });
        // Without WATCHDOG_PID, the watchdog is for this process.
        let is_meant = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let microseconds = number("WATCHDOG_USEC").filter(|time| *time > 0 && is_meant);
        let watchdog = microseconds.map(Duration::from_micros).filter(|_| socket.is_some());
        ServiceManager { socket, watchdog }
    }

    /// The interval of [`ServiceManager::report`]; `None` without a manager.
    pub fn interval(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        // sd_watchdog_enabled(3) recommends half of the time; a message may be late.
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |time| time / 4);
        Some(interval.clamp(MIN_INTERVAL, STATUS_INTERVAL))
    }

    /// How long a part of the server may stand still before the manager should kill it.
    pub fn stall_timeout(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The start or a reload has ended.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// A reload begins. [`ServiceManager::ready`] must follow.
    pub fn reloading(&self) {
        // systemd ignores the message if it was sent before the signal that asked for the reload.
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\n{}",
            status_line("reloading the configuration")
        ));
    }

    pub fn stopping(&self) {
        self.send(&format!("STOPPING=1\n{}", status_line("draining connections")));
    }

    /// The server runs. The watchdog gets its message only if every part of it `is_alive`.
    pub fn report(&self, status: &str, is_alive: bool) {
        let mut message = status_line(status);
        if self.watchdog.is_some() && is_alive {
            message += "WATCHDOG=1\n";
        }
        self.send(&message);
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            warn_ratelimited!(
                "notify_failed",
                "the service manager gets no messages from this server: {error}"
            );
        }
    }
}

/// A path, or after an `@` the name of an abstract socket.
fn connect(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                "is neither an absolute path nor the name of an abstract socket",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((socket, address))
}

fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Manager {
        socket: UnixDatagram,
        directory: tempfile::TempDir,
    }

    impl Manager {
        fn start() -> Manager {
            let directory = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
            Manager { socket, directory }
        }

        fn client(&self, more: &[(&str, &str)]) -> ServiceManager {
            let path = self.directory.path().join("notify").into_os_string();
            let more: Vec<(String, OsString)> =
                more.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
            ServiceManager::new(&|name| match name {
                "NOTIFY_SOCKET" => Some(path.clone()),
                _ => more.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
            })
        }

        fn receive(&self) -> String {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn messages_have_the_form_of_sd_notify() {
        let manager = Manager::start();
        let client = manager.client(&[]);
        client.ready("a\nREADY=0");
        assert_eq!(manager.receive(), "READY=1\nSTATUS=a READY=0\n");
        client.reloading();
        let reloading = manager.receive();
        let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(
            reloading.starts_with("RELOADING=1\n") && time.unwrap().parse::<u64>().unwrap() > 0
        );
        client.stopping();
        assert!(manager.receive().starts_with("STOPPING=1\n"));
        client.report("b", true);
        assert_eq!(manager.receive(), "STATUS=b\n", "there is no watchdog");
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let manager = Manager::start();
        let own = std::process::id().to_string();
        for (more, expected) in [
            (&[("WATCHDOG_USEC", "8000000")][..], Some(8)),
            (&[("WATCHDOG_USEC", "8000000"), ("WATCHDOG_PID", &own)], Some(8)),
            (&[("WATCHDOG_USEC", "8000000"), ("WATCHDOG_PID", "1")], None),
            (&[("WATCHDOG_USEC", "8000000"), ("WATCHDOG_PID", "x")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
        ] {
            let client = manager.client(more);
            assert_eq!(client.watchdog.map(|time| time.as_secs()), expected, "{more:?}");
            let interval =
                if expected.is_some() { Duration::from_secs(2) } else { STATUS_INTERVAL };
            assert_eq!(client.interval(), Some(interval));
            client.report("a", true);
            assert_eq!(manager.receive().contains("WATCHDOG=1"), expected.is_some());
            client.report("a", false);
            assert!(!manager.receive().contains("WATCHDOG"));
        }
    }

    #[test]
    fn an_abstract_socket_is_named_with_an_at_sign() {
        let name = format!("s3imageserver-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let client = ServiceManager::new(&|asked| {
            (asked == "NOTIFY_SOCKET").then(|| format!("@{name}").into())
        });
        client.ready("a");
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1\nSTATUS=a\n");
    }

    #[test]
    fn a_missing_or_unknown_socket_is_no_error() {
        for name in ["", "vsock:2:1", "relative/path", "/no/such/socket", "@", "@no-such-socket"] {
            let client =
                ServiceManager::new(&|asked| (asked == "NOTIFY_SOCKET").then(|| name.into()));
            client.ready("a");
            client.report("a", true);
        }
        assert_eq!(ServiceManager::new(&|_| None).interval(), None);
    }
}
