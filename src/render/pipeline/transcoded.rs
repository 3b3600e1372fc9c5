//! A JPEG of which libjpeg would buffer all coefficients: it gets a sequential one with the same pixels instead, and
//! decodes that line by line.

use super::eighth;
use super::job::RenderJob;
use crate::config::FailOn;
use crate::options::Options;
use crate::render::codec::ImageInfo;
use crate::render::codec::jpeg::Refusal;
use crate::render::codec::jpeg::transcode::{self, transcode};
use crate::render::vips::{Error, Work};

/// The original of this job, transcoded. `None` if libjpeg gets the original itself.
pub fn transcoded<'b>(bytes: &[u8], job: &RenderJob<'b>) -> Result<Option<&'b [u8]>, Error> {
    let transcoded = &job.header.transcoded;
    if transcoded.get().is_none() {
        match transcode(bytes, &Work::is_stopped) {
            Ok(bytes) => drop(transcoded.set(bytes)),
            Err(Refusal::Stopped) => return Err(Error("JPEG: stopped".into())),
            Err(_) if job.memory_is_reduced => {
                job.header.needs_full_memory.set(true);
                return Err(Error("JPEG: damaged, which takes more memory to decode".into()));
            }
            Err(_) => {}
        }
    }
    Ok(transcoded.get().map(Vec::as_slice))
}

/// The bytes that are buffered for an image of which libjpeg would buffer all coefficients. `None` if that is left to
/// libjpeg.
pub fn buffered_bytes(
    info: &ImageInfo,
    bytes: &[u8],
    options: &Options,
    fail_on: FailOn,
) -> Option<u64> {
    if info.buffered_bytes == 0 {
        return None;
    }
    let transcoded = transcode::buffered_bytes(bytes);
    let (may_be_eighth, is_eighth) = eighth::is_asked_for(info, options);
    let eighth = if may_be_eighth { eighth::buffered_bytes(bytes, fail_on) } else { None };
    match transcoded {
        // If one refuses the data, the other is tried.
        Some(transcoded) => Some(transcoded.max(eighth.unwrap_or(0))),
        None => eighth.filter(|_| is_eighth),
    }
}

#[cfg(test)]
mod tests {
    use super::super::eighth::tests::{corpus, data, keep, mutations};
    use super::*;
    use crate::format::Format;
    use crate::render::codec::inspect;
    use crate::render::vips::{Image, Value, Vips, pixels};

    const SHRINKS: [u32; 4] = [1, 2, 4, 8];
    /// `VIPS_FAIL_ON_WARNING`
    const WARNING: Value = Value::Int(3);

    fn load(bytes: &[u8], shrink: u32) -> Result<Image<'_>, Error> {
        let arguments = [(c"shrink", pixels(shrink)), (c"fail_on", WARNING)];
        Vips::start().unwrap().load(bytes, c"jpegload_buffer", &arguments)
    }

    fn decode(bytes: &[u8], shrink: u32) -> Option<Vec<u8>> {
        let image = load(bytes, shrink).ok()?.copy_memory().ok()?;
        Some(image.samples().unwrap().to_vec())
    }

    #[test]
    fn pixels_are_those_of_the_original() {
        let (mut taken, mut refused) = (0, 0);
        for file in corpus() {
            let bytes = std::fs::read(&file).unwrap();
            let Some(info) = inspect(&bytes, Format::Jpeg).ok() else { continue };
            match transcode(&bytes, &|| false) {
                Ok(ours) => {
                    taken += 1;
                    let info = inspect(&ours, Format::Jpeg).unwrap();
                    assert_eq!((info.buffered_bytes, info.scans), (0, 1), "{}", file.display());
                    for shrink in SHRINKS {
                        let expected = decode(&bytes, shrink);
                        assert!(expected.is_some(), "{} at {shrink}", file.display());
                        assert!(
                            decode(&ours, shrink) == expected,
                            "{} at {shrink}",
                            file.display()
                        );
                    }
                }
                Err(refusal) if info.buffered_bytes > 0 => {
                    refused += 1;
                    let name = file.file_name().unwrap().to_str().unwrap();
                    // Interleaved, the blocks are more than ten.
                    let is_too_large = refusal == Refusal::Damaged("size of an MCU");
                    assert!(is_too_large || name.starts_with("other"), "{name}: {refusal:?}");
                }
                Err(_) => {}
            }
        }
        eprintln!("{taken} files, and {refused} left to libjpeg");
        assert!(taken > 30 && refused < taken / 5);
    }

    #[test]
    fn metadata_is_that_of_the_original() {
        let bytes = data("jpeg/photo-progressive.jpg");
        // EXIF and a profile of other files.
        let of = |name: &str, marker: u8| {
            let bytes = data(name);
            let at = bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
            let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            bytes[at..at + 2 + length].to_vec()
        };
        let comment = b"\xff\xfe\0\x09comment";
        let segments = [of("gps.jpg", 0xe1), of("p3-primaries.jpg", 0xe2), comment.to_vec()];
        let bytes = [&bytes[..2], &segments.concat(), &bytes[2..]].concat();
        let ours = transcode(&bytes, &|| false).unwrap();
        let [original, ours] = [&bytes, &ours].map(|bytes| load(bytes, 2).unwrap());
        for field in [c"exif-data", c"icc-profile-data", c"xmp-data", c"iptc-data"] {
            assert_eq!(ours.blob(field), original.blob(field), "{field:?}");
        }
        assert!(ours.blob(c"exif-data").is_some() && ours.has_profile());
        let properties = |image: &Image| {
            (image.width(), image.height(), image.bands(), image.space(), image.density())
        };
        assert_eq!(properties(&ours), properties(&original));
    }

    #[test]
    fn less_memory_is_estimated_at_every_size() {
        let bytes = data("hostile/progressive-16mpx.jpg");
        let config = crate::config::parse(
            &format!(
                r#"{{"handlers": [{{"name": "h", "directory": {:?}}}]}}"#,
                env!("CARGO_MANIFEST_DIR")
            ),
            "test",
        );
        let config = config.unwrap();
        let defaults = config.handlers[0].defaults();
        let buffered_of = |bytes: &[u8], query: &str, fail_on: FailOn| {
            let query = crate::options::Query::parse(query).unwrap();
            let options = Options::resolve(&query, "", defaults).unwrap();
            let info = inspect(bytes, Format::Jpeg).unwrap();
            buffered_bytes(&info, bytes, &options, fail_on)
        };
        let buffered = |query: &str, fail_on: FailOn| buffered_of(&bytes, query, fail_on);
        let full = inspect(&bytes, Format::Jpeg).unwrap().buffered_bytes;
        for query in ["w=100", "w=500", "w=1000", "w=100&trim=1", "h=3000"] {
            for fail_on in [FailOn::None, FailOn::Warning] {
                assert!(buffered(query, fail_on).unwrap() < full / 3, "{query} {fail_on:?}");
            }
            // The search for what is missing keeps AC coefficients of luma, 64 bytes per block.
            let without_end = &bytes[..bytes.len() - 2];
            assert!(buffered_of(without_end, query, FailOn::Error).unwrap() > 16_000_000);
        }
    }

    /// Whatever is taken has the pixels of the original, about which libjpeg does not warn.
    /// `MUTATE_SECONDS=600 cargo test --lib transcoded` tries others for that long.
    #[test]
    fn mutations_have_the_pixels_of_the_original_or_are_refused() {
        let mut taken = 0_usize;
        let rounds = mutations(|bytes| {
            let Ok(ours) = transcode(bytes, &|| false) else { return };
            taken += 1;
            let shrink = SHRINKS[taken % 4];
            let expected = decode(bytes, shrink);
            if expected.is_none() || decode(&ours, shrink) != expected {
                panic!("other pixels at {shrink}: {}", keep(bytes).display());
            }
        });
        eprintln!("{rounds} mutations, {taken} transcoded");
        assert!(taken as u64 > rounds / 50);
    }
}
