//! JPEG at scale 1/8, by the decoder of `codec::jpeg::eighth` in place of libjpeg, with the same pixels.

use super::geometry::{Layout, swap_sides};
use super::job::RenderJob;
use super::jpeg_shrink::{jpeg_shrink, jpeg_shrink_of_window};
use super::window;
use crate::config::FailOn;
use crate::options::{Flip, Options, Rotation};
use crate::render::codec::ImageInfo;
use crate::render::codec::jpeg::{Refusal, eighth};
use crate::render::vips::{Error, Image, Work};

/// Decodes the pixels of an image that libvips has loaded with `shrink` 8, and not decoded. The result has its metadata.
/// `None` if they are left to libjpeg.
pub fn decode<'b>(
    image: &Image<'b>,
    bytes: &[u8],
    job: &RenderJob,
) -> Result<Option<Image<'b>>, Error> {
    match eighth::decode(bytes, must_examine(job.fail_on), &Work::is_stopped) {
        Ok(pixels) => {
            let sides = [image.width(), image.height(), image.bands()].map(|side| side as usize);
            if sides != [pixels.width, pixels.height, pixels.bands] {
                return Ok(None);
            }
            image.with_samples(image.width(), &pixels.samples).map(Some)
        }
        Err(Refusal::Stopped) => Err(Error("JPEG: stopped".into())),
        Err(_) => Ok(None),
    }
}

/// Whether an image may be asked for at scale 1/8, and whether it is in any case: the orientation is not known yet.
pub fn is_asked_for(info: &ImageInfo, options: &Options) -> (bool, bool) {
    if options.trim.is_some() {
        return (false, false);
    }
    let whole = (info.width, info.height);
    let is_eighth = |orientation: Rotation| {
        let upright = swap_sides(orientation, whole);
        let Some(layout) = Layout::new(options, upright) else { return false };
        let to = swap_sides(orientation, layout.resized(options.rotation));
        let shrink = match layout.window {
            None => jpeg_shrink(whole, to),
            Some(window) => {
                let window = window::stored(window, orientation, upright);
                jpeg_shrink_of_window(whole, window, to)
            }
        };
        shrink == 8
    };
    let flips: [&[Flip]; 2] = [&[], &[Flip::Horizontal]];
    let orientations = (0..4).flat_map(|quarters| flips.map(|flip| Rotation::new(quarters, flip)));
    let mut is_eighth = orientations.map(is_eighth);
    let first = is_eighth.next().unwrap_or(false);
    is_eighth.fold((first, first), |(one, all), is_eighth| (one || is_eighth, all && is_eighth))
}

/// The bytes that are buffered. `None` if the headers are refused.
pub fn buffered_bytes(bytes: &[u8], fail_on: FailOn) -> Option<u64> {
    eighth::buffered_bytes(bytes, must_examine(fail_on))
}

/// `warning` refuses an image for any fault of its data, so all of it is read.
fn must_examine(fail_on: FailOn) -> bool {
    fail_on == FailOn::Warning
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::super::mutation::{Random, mutate};
    use super::*;
    use crate::format::Format;
    use crate::render::codec::inspect;
    use crate::render::codec::jpeg::complete;
    use crate::render::vips::{Vips, pixels};

    /// About two seconds.
    const ROUNDS: u64 = 1500;

    pub fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// The files of tests/data/jpeg, and those of the directory `JPEG_CORPUS`.
    pub fn corpus() -> Vec<PathBuf> {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jpeg");
        let directories = [Some(kept), std::env::var_os("JPEG_CORPUS").map(PathBuf::from)];
        let files = directories.into_iter().flatten().flat_map(|directory| {
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())
        });
        let mut files: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|name| name == "jpg")).collect();
        files.sort();
        files
    }

    /// The image as libjpeg decodes it at 1/8, with everything that libvips reads.
    fn libjpeg(bytes: &[u8]) -> Result<Image<'_>, Error> {
        Vips::start().unwrap().load(bytes, c"jpegload_buffer", &[(c"shrink", pixels(8))])
    }

    fn pixels_of_libjpeg(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        let image = libjpeg(bytes).ok()?.copy_memory().ok()?;
        Some((image.width() as usize, image.samples().unwrap().to_vec()))
    }

    #[test]
    fn pixels_are_those_of_libjpeg() {
        let mut refused = 0;
        let files = corpus();
        assert!(files.len() >= 64);
        for file in &files {
            let bytes = std::fs::read(file).unwrap();
            match eighth::decode(&bytes, false, &|| false) {
                Ok(found) => {
                    let found = Some((found.width, found.samples));
                    assert!(found == pixels_of_libjpeg(&bytes), "{}", file.display());
                }
                Err(refusal) => {
                    refused += 1;
                    let name = file.file_name().unwrap().to_str().unwrap();
                    assert!(name.starts_with("other"), "{name}: {refusal:?}");
                }
            }
        }
        assert!(refused > 0);
        eprintln!("{} files, {refused} of them left to libjpeg", files.len());
    }

    #[test]
    fn metadata_is_that_of_libvips() {
        for name in ["p3-primaries.jpg", "gps.jpg", "orient-6.jpg", "photo-2mp.jpg"] {
            let bytes = data(name);
            let image = libjpeg(&bytes).unwrap();
            let pixels = eighth::decode(&bytes, true, &|| false).unwrap();
            let ours = image.with_samples(image.width(), &pixels.samples).unwrap();
            for field in [c"exif-data", c"icc-profile-data", c"xmp-data", c"iptc-data"] {
                assert_eq!(ours.blob(field), image.blob(field), "{name} {field:?}");
            }
            let properties = |image: &Image| {
                (image.height(), image.bands(), image.space(), image.density(), image.has_profile())
            };
            assert_eq!(properties(&ours), properties(&image), "{name}");
            assert_eq!(ours.samples().unwrap(), pixels_of_libjpeg(&bytes).unwrap().1, "{name}");
        }
    }

    /// Calls `check` with mutated files of the corpus: with a fixed set, or with others for `MUTATE_SECONDS`. Returns
    /// how many there were.
    pub fn mutations(mut check: impl FnMut(&[u8])) -> u64 {
        let timeout = std::env::var("MUTATE_SECONDS").ok();
        let timeout = timeout.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
        let start = match timeout {
            None => 1,
            Some(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() << 20,
        };
        let seeds: Vec<Vec<u8>> =
            corpus().iter().map(|file| std::fs::read(file).unwrap()).collect();
        let mut rounds = 0;
        let begun = Instant::now();
        while timeout.map_or(rounds < ROUNDS, |timeout| begun.elapsed() < timeout) {
            let mut random = Random((start + rounds) | 1 << 63);
            random.next();
            let seed = &seeds[random.below(seeds.len())];
            let bytes = mutate(seed, &seeds[random.below(seeds.len())], &mut random);
            rounds += 1;
            let too_large = |info: &ImageInfo| info.frame_pixels > 1_000_000;
            if !inspect(&bytes, Format::Jpeg).is_ok_and(|info| too_large(&info)) {
                check(&bytes);
            }
        }
        rounds
    }

    /// Keeps a file for which a test fails.
    pub fn keep(bytes: &[u8]) -> PathBuf {
        let file = std::env::temp_dir().join("s3imageserver-mutation.jpg");
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// Whatever is taken has the pixels of libjpeg. `MUTATE_SECONDS=600 cargo test --lib eighth` tries others for that
    /// long.
    #[test]
    fn mutations_have_the_pixels_of_libjpeg_or_are_refused() {
        let (mut taken, mut failed, mut completed) = (0_u64, 0_u64, 0_u64);
        let mut slowest = Duration::ZERO;
        let rounds = mutations(|bytes| {
            let round = Instant::now();
            completed += u64::from(complete(bytes, &|| false).is_some());
            let found = eighth::decode(bytes, false, &|| false);
            slowest = slowest.max(round.elapsed());
            let Ok(found) = found else { return };
            // An image without pixels, which libvips is not asked for.
            if found.samples.is_empty() {
                return;
            }
            taken += 1;
            match pixels_of_libjpeg(bytes) {
                Some(expected) if expected == (found.width, found.samples) => {}
                Some(_) => panic!("other pixels than libjpeg: {}", keep(bytes).display()),
                // Damage in scans that are not read.
                None => failed += 1,
            }
        });
        eprintln!(
            "{rounds} mutations, {taken} decoded, {failed} of them not by libjpeg, {completed} \
             completed, the slowest took {slowest:?}"
        );
        assert!(slowest < Duration::from_secs(2));
        assert!(taken > rounds / 20 && failed <= rounds / 1000);
    }
}
