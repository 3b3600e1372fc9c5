//! Chromium without a window: the pixels that it shows for an image, and what it says about a page.
//!
//! `chromium.html` loads the images and sends their pixels to a server in the test.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use image::RgbaImage;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::directory::Directory;
use super::images::Kind;
use super::origin::{RawOrigin, Request, Then, answer};
use super::server::{Log, run};
use super::skip::skip;

pub(super) const PROGRAM: &str = "chromium";
const PAGE: &str = include_str!("chromium.html");
/// How long Chromium may show no image before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Chromium shows for an image.
#[derive(Clone, Debug)]
pub struct Shown {
    pub width: u32,
    pub height: u32,
    /// How often an animation is repeated; -1 is forever.
    pub repetitions: i32,
    /// Durations in milliseconds, and pixels: one frame for an image shown as an element.
    pub frames: Vec<(u32, RgbaImage)>,
}

/// How an image is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As an element of a page, which shows a still image or the first frame.
    Element,
    /// With WebCodecs, which shows all frames.
    Frames,
    /// As an element that is drawn with these filters: CSS functions and SVG filter primitives, separated by `|`.
    Filtered(&'static str),
}

/// The pixels of an image, or the error.
pub type Outcome = Result<Shown, String>;

#[derive(Default)]
struct State {
    /// The images that the page has not asked for.
    jobs: Option<Value>,
    outcomes: BTreeMap<usize, Outcome>,
    stops: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// A running browser with one page.
pub struct Chromium {
    child: Child,
    log: Log,
    pages: RawOrigin,
    shared: Shared,
    _profile: Directory,
}

/// Whether Chromium is installed; if not, the test is skipped.
pub fn is_installed() -> bool {
    let version = Command::new(PROGRAM).arg("--version").stderr(Stdio::null()).output();
    let installed = version.is_ok_and(|output| output.status.success());
    if !installed {
        skip("chromium is not installed");
    }
    installed
}

/// Chromium with a profile in this directory. As root it needs `--no-sandbox`.
pub(super) fn command(profile: &Directory) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
        "--disable-sync",
        "--no-first-run",
        "--no-proxy-server",
        "--force-color-profile=srgb",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.env("HOME", profile.path()).env("TMPDIR", profile.path()).stdin(Stdio::null());
    command
}

impl Chromium {
    /// Starts a browser whose page loads images of this directory and of other servers. `None` if it is not installed.
    #[track_caller]
    pub fn start(originals: Directory) -> Option<Chromium> {
        use std::os::unix::process::CommandExt;
        if !is_installed() {
            return None;
        }
        let shared = Shared::default();
        let pages = {
            let shared = shared.clone();
            RawOrigin::start(move |request, peer| match respond(request, &shared, &originals) {
                Some(response) => peer.send(&response),
                None => Then::Close,
            })
        };
        let profile = Directory::new();
        let mut command = command(&profile);
        command.arg(format!("http://{}/", pages.address())).process_group(0);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        Some(Chromium { child, log, pages, shared, _profile: profile })
    }

    /// The URL of a file of the directory.
    pub fn original(&self, name: &str) -> String {
        format!("http://{}/originals/{name}", self.pages.address())
    }

    /// What it shows for images at these URLs.
    #[track_caller]
    pub fn show(&self, images: &[(As, String)]) -> Vec<Outcome> {
        let job = |(number, (how, url)): (usize, &(As, String))| {
            let filter = if let As::Filtered(filter) = how { *filter } else { "" };
            json!({"number": number, "url": url, "frames": *how == As::Frames, "filter": filter})
        };
        let jobs: Vec<Value> = images.iter().enumerate().map(job).collect();
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.outcomes.clear();
        state.jobs = Some(Value::Array(jobs));
        changed.notify_all();
        let mut deadline = Instant::now() + PATIENCE;
        let mut count = 0;
        while state.outcomes.len() < images.len() {
            if state.outcomes.len() > count {
                count = state.outcomes.len();
                deadline = Instant::now() + PATIENCE;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("chromium hangs after {count} images:\n{}", self.log.lines().join("\n"));
            }
            state = changed.wait_timeout(state, left).unwrap().0;
        }
        std::mem::take(&mut state.outcomes).into_values().collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let (state, changed) = &*self.shared;
        if let Ok(mut state) = state.lock() {
            state.stops = true;
        }
        changed.notify_all();
        // Its renderer processes are in its group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The response to a request of the page; `None` closes the connection.
fn respond(request: &Request, shared: &Shared, originals: &Directory) -> Option<Vec<u8>> {
    let (state, changed) = &**shared;
    let path = request.path();
    let (_, part) = path.split_once('/')?;
    let (kind, name) = part.split_once('/').unwrap_or((part, ""));
    let outcome = match kind {
        "" => return Some(answer(200, &[("Content-Type", "text/html")], PAGE.as_bytes())),
        "jobs" => {
            let waits = |state: &mut State| state.jobs.is_none() && !state.stops;
            let mut state = changed.wait_while(state.lock().unwrap(), waits).unwrap();
            let jobs = state.jobs.take()?.to_string();
            return Some(answer(200, &[("Content-Type", "application/json")], jobs.as_bytes()));
        }
        "originals" => return Some(original(&originals.path().join(name))),
        "shown" => Shown::read(&request.body).ok_or_else(|| "a malformed result".to_owned()),
        "failed" => Err(String::from_utf8_lossy(&request.body).into_owned()),
        _ => return Some(answer(404, &[], b"")),
    };
    state.lock().unwrap().outcomes.insert(name.parse().ok()?, outcome);
    changed.notify_all();
    Some(answer(200, &[], b""))
}

fn original(path: &Path) -> Vec<u8> {
    let Ok(bytes) = std::fs::read(path) else { return answer(404, &[], b"") };
    let media_type = Kind::of(&bytes).map_or("application/octet-stream", Kind::media_type);
    answer(200, &[("Content-Type", media_type), ("Cache-Control", "no-store")], &bytes)
}

impl Shown {
    /// Reads the result that the page sends.
    fn read(bytes: &[u8]) -> Option<Shown> {
        let (head, mut rest) = bytes.split_at_checked(16)?;
        let number = |at: usize| Some(i32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let width = number(0)?.try_into().ok()?;
        let height = number(4)?.try_into().ok()?;
        let mut frames = Vec::new();
        for _ in 0..number(12)? {
            let (time, after) = rest.split_first_chunk()?;
            let (pixels, after) = after.split_at_checked((width * height * 4) as usize)?;
            let pixels = RgbaImage::from_raw(width, height, pixels.to_vec())?;
            frames.push((u32::from_le_bytes(*time), pixels));
            rest = after;
        }
        Some(Shown { width, height, repetitions: number(8)?, frames })
    }
}

/// A URL opened as a document.
pub struct Document {
    /// A picture of the window.
    pub screenshot: RgbaImage,
    /// The messages in the console.
    pub console: Vec<String>,
}

/// Opens a URL in a window of this size.
#[track_caller]
pub fn open(url: &str, (width, height): (u32, u32)) -> Document {
    let profile = Directory::new();
    let file = profile.path().join("screenshot.png");
    let output = run(command(&profile)
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(url));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{error}:\n{log}"));
    Document { screenshot: super::images::Image::decode(&bytes).pixels, console }
}
