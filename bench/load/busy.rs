//! Overload: clients that request uncached images, each again as soon as it has a response.
//!
//! Prints `full` at the first 503, and at the end of standard input `seconds 200s 503s others longest-quiet`, all since
//! `full`; the last is the longest time in milliseconds without a 503, which shows whether the queue stayed full.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Fallible;
use super::client::{Connection, Target};

/// The pause of a client after a 503: less than its `Retry-After` of a second.
const PAUSE: Duration = Duration::from_millis(100);
const STACK: usize = 128 << 10;
const WIDTHS: u32 = 300;
const QUALITIES: u32 = 60;

/// Keeps `clients` clients busy. `first` is the number of the first image; different runs use different images.
pub fn run(target: &Target, clients: u32, first: u32) -> Fallible<String> {
    let (answered, answers) = channel();
    let number = std::sync::Arc::new(AtomicU32::new(first));
    for _ in 0..clients {
        let (target, answered, number) = (target.clone(), answered.clone(), number.clone());
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || ask_forever(&target, &number, &answered))?;
    }
    // The end of standard input is sent like a response.
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = answered.send(None);
    });

    let mut full: Option<Instant> = None;
    let mut last = Instant::now();
    let mut quiet = Duration::ZERO;
    let mut counts = [0_u64; 3];
    while let Ok(Some(status)) = answers.recv() {
        if status == 503 {
            if full.is_some() {
                quiet = quiet.max(last.elapsed());
            } else {
                full = Some(Instant::now());
                println!("full");
            }
            last = Instant::now();
        }
        if full.is_some() {
            let [made, refused, others] = &mut counts;
            *match status {
                200 => made,
                503 => refused,
                _ => others,
            } += 1;
        }
    }
    let full = full.ok_or("it was never told 503")?;
    let [made, refused, others] = counts;
    let quiet = quiet.max(last.elapsed()).as_millis();
    Ok(format!("{:.2} {made} {refused} {others} {quiet}", full.elapsed().as_secs_f64()))
}

/// A lost connection counts as status 0. The threads end with the process.
fn ask_forever(target: &Target, number: &AtomicU32, answered: &Sender<Option<u16>>) {
    let mut buffer = Vec::new();
    let mut connection = None;
    loop {
        let path = image(&target.path, number.fetch_add(1, Ordering::Relaxed));
        let status = ask(target, &mut connection, &path, &mut buffer).unwrap_or_else(|_| {
            connection = None;
            0
        });
        if answered.send(Some(status)).is_err() {
            return;
        }
        if status != 200 {
            thread::sleep(PAUSE);
        }
    }
}

fn ask(
    target: &Target,
    kept: &mut Option<Connection>,
    path: &str,
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(target, None)?,
    };
    let status = connection.ask("GET", path, buffer)?;
    *kept = Some(connection);
    Ok(status)
}

/// WebP and AVIF alternately, with widths and qualities that repeat only after 36,000 images.
fn image(path: &str, number: u32) -> String {
    let format = if number.is_multiple_of(2) { "webp" } else { "avif" };
    let width = 200 + number / 2 % WIDTHS;
    let quality = 30 + number / 2 / WIDTHS % QUALITIES;
    format!("{path}?w={width}&q={quality}&f={format}")
}
