//! The program, started as users start it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::{Answer, Client, request};
use super::directory::Directory;
use super::process::{self, Process};
use super::skip::skip;
use super::{TIMEOUT, eventually, merged};

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_s3imageserver");

/// A command for the program in this directory, with an environment that does not depend on the machine's.
pub fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_ascii_uppercase();
        let ours = ["AWS_", "S3IMAGESERVER_", "XDG_", "RUNTIME_"]
            .iter()
            .any(|prefix| upper.starts_with(prefix));
        if ours || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    // Neither the user's AWS profile nor the credentials of a cloud instance. Files that a killed program leaves are
    // removed with the directory.
    command
        .env("HOME", directory)
        .env("TMPDIR", directory)
        // One second may be too short on a busy machine.
        .env("S3IMAGESERVER_TEST_ERROR_IMAGE_SECONDS", "30")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Completes a configuration for a test: with a free port on the loopback interface by default, and without a port if it
/// has `http_socket`.
fn completed(config: Value) -> Value {
    let mut base = json!({"address": "127.0.0.1", "http_port": 0});
    if config.get("http_socket").is_some() {
        base = json!({});
    }
    let mut config = merged(base, config);
    // All clients of a test have the same address.
    let limits = config.as_object_mut().unwrap().entry("limits").or_insert_with(|| json!({}));
    if let Some(limits) = limits.as_object_mut() {
        limits.entry("connections_per_address").or_insert_with(|| json!(100_000));
    }
    config
}

/// A program to be started.
pub struct Setup {
    program: PathBuf,
    config: String,
    /// Whether it will listen on a port for HTTP.
    has_port: bool,
    /// Whether it will listen for HTTPS.
    https: bool,
    environment: Vec<(String, String)>,
    directory: Directory,
    /// A shell script to run in a new mount namespace before the program is started there.
    mounts: Option<String>,
    /// Sockets to pass as descriptors 3 and 4, and their names.
    sockets: Option<(String, Vec<OwnedFd>)>,
}

impl Setup {
    /// With a configuration, to which a free port on the loopback interface is added if it names none.
    pub fn new(config: Value) -> Setup {
        let config = completed(config);
        let has_port = config.get("http_port").is_some();
        Setup { has_port, ..Setup::verbatim(&config.to_string(), config["https_enabled"] == true) }
    }

    /// With the text of a configuration, as it is.
    pub fn verbatim(text: &str, https: bool) -> Setup {
        Setup {
            program: PROGRAM.into(),
            config: text.to_owned(),
            has_port: true,
            https,
            environment: Vec::new(),
            directory: Directory::new(),
            mounts: None,
            sockets: None,
        }
    }

    /// Starts another program, built on the library.
    pub fn program(mut self, program: PathBuf) -> Setup {
        self.program = program;
        self
    }

    /// Makes the periodic checks (heartbeats, cache directories, certificate files) more frequent than once a second.
    pub fn check_interval(self, milliseconds: u64) -> Setup {
        self.env("S3IMAGESERVER_CHECK_INTERVAL_MS", milliseconds.to_string())
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Setup {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it in a new mount namespace in which a shell has run this script.
    pub fn mounts(mut self, script: impl Into<String>) -> Setup {
        self.mounts = Some(script.into());
        self
    }

    /// Passes one or two sockets as a service manager does, with names between colons (sd_listen_fds(3)).
    pub fn sockets(mut self, names: &str, sockets: Vec<OwnedFd>) -> Setup {
        assert!((1..=2).contains(&sockets.len()));
        self.sockets = Some((names.to_owned(), sockets));
        self
    }

    /// Adds a file to the working directory.
    pub fn file(self, name: &str, bytes: &[u8]) -> Setup {
        self.directory.put(name, bytes);
        self
    }

    /// The working directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The command that starts it, for a test that changes it.
    pub fn command(&self) -> Command {
        let path = self.directory.put("config.json", self.config.as_bytes());
        let mut command = match (&self.mounts, &self.sockets) {
            (None, None) => command(&self.program, self.directory.path()),
            (None, Some((names, sockets))) => {
                let mut command = command(Path::new("sh"), self.directory.path());
                // The shell gets them as standard input and output.
                let mut script = "exec 3<&0 </dev/null".to_owned();
                command.stdin(sockets[0].try_clone().unwrap());
                if let Some(second) = sockets.get(1) {
                    script += " 4<&1 >/dev/null";
                    command.stdout(second.try_clone().unwrap());
                }
                let count = sockets.len();
                script += &format!(
                    "\nexport LISTEN_PID=$$ LISTEN_FDS=${{LISTEN_FDS:-{count}}} LISTEN_FDNAMES={names}\nexec \"$@\""
                );
                command.args(["-ec", &script, "sh"]).arg(&self.program);
                command
            }
            (Some(script), _) => {
                let mut command = command(Path::new("unshare"), self.directory.path());
                command.args(namespace()).args([
                    "sh",
                    "-ec",
                    &format!("{script}\nexec \"$@\""),
                    "sh",
                ]);
                command.arg(&self.program);
                command
            }
        };
        command
            .arg("-c")
            .arg(path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end, for a configuration that is expected to be refused.
    #[track_caller]
    pub fn run(&self) -> Output {
        run(&mut self.command())
    }

    /// Starts it and waits until it is listening.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut command = self.command();
        if self.sockets.is_none() {
            command.stdout(Stdio::null());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let mut server = Server {
            child,
            http: None,
            https: None,
            log,
            renderers: Vec::new(),
            directory: self.directory,
        };
        if self.has_port {
            server.http = Some(server.log.address("http"));
        } else {
            server.log.event("listening");
        }
        if self.https {
            server.https = Some(server.log.address("https"));
        }
        server
    }
}

/// Options of unshare(1) for a namespace in which the test may mount; a user other than root becomes root there.
fn namespace() -> &'static [&'static str] {
    if rustix::process::getuid().is_root() { &["-m"] } else { &["-rm"] }
}

/// Whether the test may mount a file system; if not, it is skipped.
pub fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(namespace()).args(["sh", "-c", "mount -t tmpfs -o size=1m none /tmp"]);
    let can = command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        skip("mount is not permitted");
    }
    can
}

/// Runs a command to its end. It is killed after the timeout.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("still running after {TIMEOUT:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// A running program.
pub struct Server {
    child: Child,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    pub log: Log,
    renderers: Vec<Process>,
    directory: Directory,
}

impl Server {
    #[track_caller]
    pub fn start(config: Value) -> Server {
        Setup::new(config).start()
    }

    /// With one handler.
    #[track_caller]
    pub fn with_handler(handler: Value) -> Server {
        Server::start(json!({"handlers": [handler]}))
    }

    /// With one handler and limits.
    #[track_caller]
    pub fn with_limits(handler: Value, limits: Value) -> Server {
        Server::start(json!({"handlers": [handler], "limits": limits}))
    }

    pub fn http(&self) -> SocketAddr {
        self.http.expect("it does not listen on a port for HTTP")
    }

    pub fn https(&self) -> SocketAddr {
        self.https.expect("HTTPS is not enabled")
    }

    /// Its working directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn client(&self) -> Client {
        Client::connect(self.http())
    }

    /// A GET on a new connection.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.client().get(target)
    }

    #[track_caller]
    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.client().get_with(target, headers)
    }

    #[track_caller]
    pub fn head_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.client().head_with(target, headers)
    }

    /// A request with any method on a new connection.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str) -> Answer {
        self.send(&request(method, target, &[]))
    }

    /// Sends bytes on a new connection and reads the response.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut client = self.client();
        client.send(bytes);
        client.read()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration and sends SIGHUP. Returns the line that reports the result.
    #[track_caller]
    pub fn reload(&self, config: Value) -> String {
        self.reload_text(&completed(config).to_string())
    }

    /// Like `reload`, with the text of a configuration, as it is.
    #[track_caller]
    pub fn reload_text(&self, text: &str) -> String {
        let is_report =
            |line: &String| event(line).is_some_and(|(name, _)| name.starts_with("reload_"));
        let said = || self.log.lines().into_iter().filter(is_report);
        let before = said().count();
        self.directory.put("config.json", text.as_bytes());
        self.hang_up();
        let mut reported = None;
        eventually("the reload is reported", || {
            reported = said().nth(before);
            reported.is_some()
        });
        reported.unwrap()
    }

    /// Like `reload`, with a valid configuration.
    #[track_caller]
    pub fn reload_well(&self, config: Value) {
        let said = self.reload(config);
        assert!(event(&said).is_some_and(|(name, _)| name == "reload_ok"), "{said}");
    }

    /// Replaces the configuration file, to be read at the next SIGHUP.
    pub fn put_config(&self, config: Value) {
        self.directory.put("config.json", completed(config).to_string().as_bytes());
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        process::send(self.id(), Signal::HUP);
    }

    /// The latest address it listens on whose name starts with `start`.
    #[track_caller]
    pub fn listening_on(&self, start: &str) -> SocketAddr {
        let begins = format!("listening on {start}");
        let mut address = None;
        eventually("it is listening there", || {
            let lines = self.log.lines();
            let mut sentences = lines.iter().rev().filter_map(|line| Some(event(line)?.1));
            let sentence = sentences.find(|sentence| sentence.contains(&begins));
            let authority = sentence.as_ref();
            let authority = authority
                .and_then(|sentence| sentence.split_once("://")?.1.split_whitespace().next());
            address =
                authority.and_then(|authority| authority.replace('*', "127.0.0.1").parse().ok());
            address.is_some()
        });
        address.unwrap()
    }

    /// The edge process.
    pub fn process(&self) -> Process {
        Process::of(self.id())
    }

    pub fn terminate(&self) {
        process::send(self.id(), Signal::TERM);
    }

    /// Waits until the process has exited.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.renderers = self.children();
        let mut status = None;
        eventually("the program exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its children that are alive.
    pub fn children(&self) -> Vec<Process> {
        Process::children_of(self.id())
    }

    /// The renderer, once there is exactly one.
    #[track_caller]
    pub fn renderer(&self) -> Process {
        let mut children = Vec::new();
        eventually("there is one renderer", || {
            children = self.children();
            children.len() == 1
        });
        children.remove(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.renderers = self.children();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of the program:\n{}", self.log.lines().join("\n"));
            return;
        }
        eventually("the renderer exits with the edge", || {
            !self.renderers.iter().any(Process::lives)
        });
    }
}

/// The lines that the program writes to stderr.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    /// Starts a thread that reads them.
    pub fn of(stderr: impl std::io::Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let shared = log.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                shared
                    .0
                    .0
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&line).trim_end().to_owned());
                shared.0.1.notify_all();
                line.clear();
            }
        });
        log
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits for a line that contains this text.
    #[track_caller]
    pub fn line_with(&self, text: &str) -> String {
        self.find(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Waits for an event with this name and returns its line.
    #[track_caller]
    pub fn event(&self, name: &str) -> String {
        self.event_with(name, "")
    }

    /// Waits for an event with this name whose line contains a name or a value. Sentences may change; do not match them.
    #[track_caller]
    pub fn event_with(&self, name: &str, part: &str) -> String {
        self.find(&format!("{name} …{part}"), |line| {
            let (event, sentence) = event(line)?;
            (event == name && sentence.contains(part)).then(|| line.to_owned())
        })
    }

    /// The number of events with this name so far.
    pub fn count(&self, name: &str) -> usize {
        let is_event = |line: &&String| event(line).is_some_and(|(event, _)| event == name);
        self.lines().iter().filter(is_event).count()
    }

    /// Waits for the access log line with this target and returns its fields.
    #[track_caller]
    pub fn access(&self, target: &str) -> Vec<String> {
        self.find(target, |line| {
            let fields: Vec<String> = line.split(' ').map(str::to_owned).collect();
            (fields.get(3)? == target).then_some(fields)
        })
    }

    #[track_caller]
    fn find<T>(&self, wanted: &str, matches: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = lines.iter().find_map(|line| matches(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all = lines.join("\n");
                drop(lines);
                panic!("no line with {wanted:?} on stderr:\n{all}");
            }
            lines = self.0.1.wait_timeout(lines, left.min(Duration::from_millis(200))).unwrap().0;
        }
    }

    #[track_caller]
    fn address(&self, scheme: &str) -> SocketAddr {
        let start = format!(" {scheme}://");
        // `*` is every address of the machine.
        self.find(&format!("listening{start}"), |line| {
            let (_, listener) = event(line).filter(|(name, _)| name == "listening")?;
            let authority = listener.split_once(&start)?.1.split_whitespace().next()?;
            authority.replace('*', "127.0.0.1").parse().ok()
        })
    }
}

/// The name and the sentence of an event, in text or in JSON.
fn event(line: &str) -> Option<(String, String)> {
    if line.starts_with('{') {
        let fields: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| fields[name].as_str().map(str::to_owned);
        return Some((field("event.action")?, field("message")?));
    }
    let (name, sentence) = line.split_once(" event=")?.1.split_once(' ')?;
    Some((name.to_owned(), sentence.to_owned()))
}

/// The bytes of a file in tests/data.
#[track_caller]
pub fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
