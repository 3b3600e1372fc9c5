//! Renders thousands of mutated images: no mutation may crash, hang, or exceed a limit.
//!
//! A test run tries a fixed set. `MUTATE_SECONDS=600 cargo test --lib mutation` tries others for that long. Each is
//! written to a file before it is rendered, which survives a crash; its name tells the query and `fail_on`.

use std::time::{Duration, Instant};

use super::{Bounds, Examined, examine, render};
use crate::config::{Config, FailOn, parse};
use crate::error::Code;
use crate::format::Format;
use crate::options::{Options, Query};
use crate::phases::Phases;
use crate::render::vips::Vips;
use crate::render::watchdog::Watchdog;

/// About a second.
const ROUNDS: u64 = 1500;
/// In bytes. In a small seed, a mutation is more likely to matter.
const MAX_SEED: usize = 8000;

/// For `f=auto`.
const MODERN: &str = "image/avif,image/webp,*/*";

const QUERIES: [&str; 38] = [
    "w=16&f=png",
    "w=16",
    "f=gif&w=20&h=20",
    "f=webp&w=30",
    "w=20&h=10&g=smart&f=jpg",
    "f=jpg",
    "trim=10&w=12&f=png",
    "rot=90&w=12&f=webp",
    "page=1&w=9&f=png",
    "strip=false&w=10&f=jpg",
    "blur=3&f=png",
    "sharp=1&w=20",
    "blur=1&sharp=1&w=12&f=webp",
    "trim=20&w=12&f=gif",
    "w=20&h=30&pad=true&bg=10203080&f=webp",
    "page=1&frames=2&f=gif",
    "trim=3&rot=270&flip=h&w=9&h=9&g=smart&sharp=2&f=gif",
    "bri=2&con=0.5&gamma=2&neg=0.3&w=12&f=png",
    "sat=3&hue=77&gray=0.5&tint=ff8000:0.5&w=12&f=gif",
    "duo=102030:fff0c0&pix=3&blur=1&w=12&f=webp",
    "w=12&f=auto",
    "w=12&trim=3&f=auto&strip=false",
    "w=30&wm=one,all&f=png",
    "wm=all&f=auto&strip=false",
    "w=20&h=30&pad=true&bg=10203080&wm=one&f=gif",
    "f=json",
    "f=json&trim=9&w=20&h=10&g=smart&rot=90",
    "f=thumbhash&page=1",
    "f=blurhash&w=9&h=20",
    "w=20&f=auto&max_bytes=1000",
    "f=webp&max_bytes=1000&strip=false",
    "crop=2:1:9:7&w=6",
    "crop=0.1:0.2:0.5:0.5&f=gif&w=4&h=4",
    "crop=0:0:0.5:1&trim=10:ffffff:hv&f=webp",
    "rot=33.3&w=20&f=webp&bg=10203040",
    "rot=300&crop=1:1:8:8&fit=stretch&w=9&h=30&f=gif",
    "min-w=30&w=12&g=se:0.1:2&f=jpg&round=4",
    "fit=ratio&w=30&h=20&round=max&f=gif",
];

/// xorshift64*
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap() % end.max(1)
    }
}

/// Small images of each format, with hostile ones.
fn seeds() -> Vec<Vec<u8>> {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files: Vec<_> = [data.clone(), data.join("gif"), data.join("hostile")]
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap().flatten())
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .filter(|bytes| bytes.len() <= MAX_SEED && Format::of_bytes(bytes).is_some())
        .collect();
    // Results of this pipeline: animations, lossy WebP, palettes, profiles.
    let photo = std::fs::read(data.join("p3-primaries.jpg")).unwrap();
    let moving = std::fs::read(data.join("anim.gif")).unwrap();
    let config = config();
    for query in [
        "w=24&f=jpg",
        "w=24&f=png",
        "w=24&f=webp",
        "w=24&f=avif",
        "w=24&f=gif",
        "w=24&f=webp&lossless=true",
    ] {
        seeds.push(render_bytes(&photo, query, FailOn::Truncated, &config).unwrap());
    }
    for query in ["w=16&f=gif&frames=5", "w=16&f=webp&frames=5", "w=16&f=avif&frames=5"] {
        seeds.push(render_bytes(&moving, query, FailOn::Truncated, &config).unwrap());
    }
    seeds
}

fn config() -> Config {
    let root = env!("CARGO_MANIFEST_DIR");
    let logo = format!("{root}/examples/images/logo.png");
    let text = format!(
        r#"{{"handlers": [{{"name": "h", "directory": {root:?}, "watermarks": {{
                "one": {{"file": {logo:?}, "size": 0.5}},
                "all": {{"file": {logo:?}, "size": 0.25, "tile": true, "spacing": [3, 0.1]}}}}}}],
            "limits": {{"source_max_pixels": 2000000, "source_max_total_pixels": 4000000, "result_max_pixels": 2000000}}}}"#
    );
    parse(&text, "test").unwrap()
}

fn render_bytes(
    original: &[u8],
    query: &str,
    fail_on: FailOn,
    config: &Config,
) -> Result<Vec<u8>, Code> {
    let vips = Vips::start().unwrap();
    let options =
        Options::resolve(&Query::parse(query).unwrap(), MODERN, config.handlers[0].defaults())
            .unwrap();
    let bounds = Bounds::from_limits(&config.limits);
    let render = |examined: &Examined| {
        let phases = &mut Phases::default();
        render(vips, original, &options, fail_on, bounds, examined, phases)
    };
    let result = examine(original, &options, fail_on, &bounds).and_then(|examined| {
        match render(&examined)? {
            Some(rendered) => Ok(Some(rendered)),
            None => render(&examined.with_full_memory()),
        }
    });
    result.map(|rendered| rendered.unwrap().bytes).map_err(|failure| failure.code)
}

/// Changes bits, bytes and numbers, and cuts, duplicates and replaces ranges.
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let length = random.below(24).min(bytes.len() - at);
        match random.below(9) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes[at..at + length].iter_mut().for_each(|byte| *byte = random.next() as u8),
            4 => bytes[at..at + length.min(4)].fill([0, 0xff, 0x7f][random.below(3)]),
            5 => bytes.truncate(at.max(16)),
            6 => drop(bytes.drain(at..at + length)),
            7 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            _ => {
                let from = random.below(other.len());
                let piece = other[from..(from + 1 + length).min(other.len())].to_vec();
                drop(bytes.splice(at..at + length, piece));
            }
        }
    }
    bytes
}

/// The peak resident set of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn no_mutation_crashes_or_hangs() {
    let longer = std::env::var("MUTATE_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let timeout = longer.map(Duration::from_secs);
    let start: u64 = match longer {
        None => 1,
        Some(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() << 20,
    };
    let seeds = seeds();
    let config = config();
    let begun = Instant::now();
    assert!(seeds.len() > 30);
    let watchdog = Watchdog::start(Duration::from_secs(20)).unwrap();
    let file = std::env::temp_dir().join(format!("s3imageserver-mutation-{}", std::process::id()));
    let mut rendered = 0;
    let mut slowest = Duration::ZERO;
    let mut rounds = 0;
    while timeout.map_or(rounds < ROUNDS, |timeout| begun.elapsed() < timeout) {
        let mut random = Random((start + rounds) | 1 << 63);
        random.next();
        let seed = &seeds[random.below(seeds.len())];
        let other = &seeds[random.below(seeds.len())];
        let bytes = mutate(seed, other, &mut random);
        let query = QUERIES[random.below(QUERIES.len())];
        let fail_on =
            [FailOn::Truncated, FailOn::None, FailOn::None, FailOn::Error][random.below(4)];
        let named = file.with_extension(format!("{query}-{fail_on:?}"));
        std::fs::write(&named, &bytes).unwrap();
        let work = watchdog.begin(Duration::MAX);
        let round = Instant::now();
        let outcome = render_bytes(&bytes, query, fail_on, &config);
        assert!(!work.was_stopped(), "it takes too long: {}", named.display());
        drop(work);
        if round.elapsed() > slowest {
            slowest = round.elapsed();
            // Kept in a longer run.
            if timeout.is_some() {
                let _ = std::fs::copy(&named, file.with_extension("slowest"));
            }
        }
        if let Ok(result) = outcome {
            rendered += 1;
            let is_whole = match query {
                _ if query.starts_with("f=json") => {
                    serde_json::from_slice::<serde_json::Value>(&result).is_ok()
                }
                _ if query.contains("hash") => !result.is_empty() && result.is_ascii(),
                _ => Format::of_bytes(&result).is_some(),
            };
            assert!(is_whole, "{}", named.display());
        }
        std::fs::remove_file(&named).unwrap();
        rounds += 1;
    }
    eprintln!("{rounds} mutations, {rendered} results, the slowest took {slowest:?}");
    // A shorter run shares the process with other tests.
    if timeout.is_some() {
        let peak = peak();
        eprintln!("{} MiB at most", peak >> 20);
        assert!(peak < 250 << 20, "{} MiB", peak >> 20);
    }
    assert!(
        rendered > rounds / 20 && rendered < rounds,
        "{rendered} of {rounds} were rendered: the mutations are too weak or too strong"
    );
}
