//! `f=json`, `f=thumbhash` and `f=blurhash`: describes an original and the result of the other options. Of the pixels
//! only a thumbnail is decoded.

mod blurhash;
mod colours;
mod document;
#[cfg(test)]
mod testing;
mod thumbhash;
mod thumbnail;
mod transform;

use std::cell::OnceCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::choice::Examined;
use super::frames::Frames;
use super::header::Header;
use super::job::RenderJob;
use super::limits::Bounds;
use super::trim::Trimmed;
use super::{
    check_container, check_sizes, copies, corrupt, estimate, format_of, load, orientation, steps,
    transcoded,
};
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::media_type::MediaType;
use crate::options::{Description, Needs, Options};
use crate::render::codec::icc::Profile;
use crate::render::codec::{Details, ImageInfo, exif, inspect};
use crate::render::vips::{Error, Image, Space, Vips};
use document::{Document, Original, Outcome, Placeholder};

/// The format that the thumbnail is made for: it keeps transparency.
const THUMBNAIL: Format = Format::Png;

/// An original whose header has been read.
pub struct Source<'b> {
    /// As stored.
    pub original: &'b [u8],
    /// For libvips, with what it would not read repaired.
    pub readable: &'b [u8],
    pub format: Format,
    pub header: &'b Header<'b>,
}

/// A pixel with transparency, not premultiplied.
type Pixel = [u8; 4];

/// The pixels of a thumbnail, with its width and height.
type Thumbnail = (Vec<Pixel>, (usize, usize));

/// Checks an original before anything is decoded.
pub fn examine(
    original: &[u8],
    options: &Options,
    fail_on: FailOn,
    bounds: &Bounds,
) -> Result<Examined, Failure> {
    let format = format_of(original)?;
    let copies = copies(original, format, fail_on)?;
    let info = inspect(original, format)?;
    let frames = decoded_frames(info.frames, options, format)?;
    check_container(&info, frames, fail_on, bounds)?;
    // The orientation is not known yet.
    let thumbnails = [(info.width, info.height), (info.height, info.width)]
        .map(|size| thumbnail::options(options, size));
    let memory = |info: &ImageInfo| {
        let bytes = |options| estimate::bytes(info, format, frames.count, options, THUMBNAIL);
        let most = thumbnails.iter().map(bytes).max().unwrap_or(u64::MAX);
        most.saturating_add(copies * original.len() as u64)
    };
    let full = memory(&info);
    let buffered = |options| match format {
        Format::Jpeg => transcoded::buffered_bytes(&info, original, options, fail_on),
        _ => None,
    };
    let buffered: Option<Vec<u64>> = thumbnails.iter().map(buffered).collect();
    match buffered.and_then(|both| both.into_iter().max()) {
        Some(buffered_bytes) if buffered_bytes < info.buffered_bytes => {
            let reduced = memory(&ImageInfo { buffered_bytes, ..info });
            Ok(Examined::with_memory(reduced, Some(full)))
        }
        _ => Ok(Examined::with_memory(full, None)),
    }
}

/// Describes an original that [`examine`] has accepted. `None` if it turns out to be damaged, and takes more memory.
pub fn describe(
    vips: Vips,
    source: &Source,
    options: &Options,
    description: Description,
    (fail_on, bounds): (FailOn, Bounds),
    memory_is_reduced: bool,
) -> Result<Option<(Vec<u8>, MediaType)>, Failure> {
    let &Source { header, format, .. } = source;
    let frames = decoded_frames(header.frames, options, format)?;
    bounds.check_header(header.width, header.height, frames.decoded())?;
    let failed = |error: Error| {
        corrupt(format!("the original can't be decoded as {}: {}", format.name(), error.0))
    };
    let job = |options| {
        let job = RenderJob::new(options, header, (format, THUMBNAIL), frames, fail_on);
        job.map(|job| RenderJob { memory_is_reduced, ..job })
    };
    let mut whole = job(options)?;
    // It lives longer than what is made with it.
    let thumbnail_options = OnceCell::new();
    let trimmed = match options.trim {
        None => None,
        Some(trim) => {
            let image = load::load(vips, source.readable, &whole, whole.size);
            let trimmed = image.and_then(|image| Trimmed::new(image, &whole, &trim));
            if header.needs_full_memory.get() {
                return Ok(None);
            }
            let trimmed = trimmed.map_err(failed)?;
            whole.set_trimmed_size(trimmed.size());
            Some(trimmed)
        }
    };
    let mut job = job(thumbnail_options.get_or_init(|| thumbnail::options(options, whole.size)))?;
    if let Some(trimmed) = &trimmed {
        job.set_trimmed_size(trimmed.size());
    }
    check_sizes(&job, &bounds)?;
    let thumbnail = thumbnail(vips, source, &job, trimmed.as_ref());
    if header.needs_full_memory.get() {
        return Ok(None);
    }
    let (pixels, size) = thumbnail.map_err(failed)?;
    let thumbhash = || STANDARD.encode(thumbhash::encode(&pixels, size));
    let blurhash = || blurhash::encode(&pixels, size, options.background.rgb());
    let body = match description {
        Description::ThumbHash => return Ok(Some((thumbhash().into_bytes(), MediaType::Text))),
        Description::BlurHash => return Ok(Some((blurhash().into_bytes(), MediaType::Text))),
        Description::Json => Document {
            original: describe_original(vips, source),
            result: outcome(source, options, (fail_on, &bounds), trimmed.map(|image| image.size()))
                .unwrap_or_else(|failure| Outcome::Refused { error: failure.code.public_name() }),
            placeholder: Placeholder::new(colours::find(&pixels), thumbhash(), blurhash()),
        },
    };
    let bytes = serde_json::to_vec(&body).map_err(|error| {
        Failure::new(Code::RendererFailed, format!("the description is no JSON: {error}"))
    })?;
    Ok(Some((bytes, MediaType::Json)))
}

/// The frames to decode: one, or with `trim` all that the result has, since its border is that of all of them.
fn decoded_frames(in_file: u32, options: &Options, original: Format) -> Result<Frames, Failure> {
    match options.trim {
        Some(_) => Frames::select(in_file, options, result_format(options, original)),
        None => Ok(Frames { count: 1, ..Frames::select_all(in_file, options)? }),
    }
}

/// The format of the image that is described.
fn result_format(options: &Options, original: Format) -> Format {
    let needs = Needs { animation: false, transparency: false };
    options.formats(original, needs).first().copied().unwrap_or(original)
}

fn thumbnail<'b>(
    vips: Vips,
    source: &Source<'b>,
    job: &RenderJob<'b>,
    trimmed: Option<&Trimmed<'b>>,
) -> Result<Thumbnail, Error> {
    let (width, height) = job.resized();
    let image = match trimmed {
        Some(trimmed) => trimmed.resize(width, height)?,
        None => load::load(vips, source.readable, job, (width, height))?,
    };
    let image = steps::apply(image, job)?;
    let frame_height = image.height() / job.frames.count.max(1);
    let image = image.crop(0, 0, image.width(), frame_height)?;
    let image = if image.space() == Space::Srgb { image } else { image.to_srgb()? };
    pixels(&image)
}

fn pixels(image: &Image) -> Result<Thumbnail, Error> {
    let samples = image.samples()?;
    let pixels = match image.bands() {
        4 => samples.as_chunks().0.to_vec(),
        3 => {
            let opaque = |[red, green, blue]: &[u8; 3]| [*red, *green, *blue, u8::MAX];
            samples.as_chunks().0.iter().map(opaque).collect()
        }
        bands => return Err(Error(format!("{bands} channels"))),
    };
    Ok((pixels, (image.width() as usize, image.height() as usize)))
}

fn describe_original(vips: Vips, source: &Source) -> Original {
    let &Source { original, readable, format, header } = source;
    let profile = match &header.avif {
        Some(decoded) => decoded.avif.icc.map(<[u8]>::to_vec),
        None if format == Format::Gif => None,
        None => vips.read_header(readable).ok().and_then(|image| image.profile()),
    };
    let profile = profile.as_deref().and_then(Profile::parse);
    let orientation = header.orientation();
    let (width, height) = super::geometry::swap_sides(orientation, (header.width, header.height));
    let details = Details::read(original, format);
    let is_animated = header.frames > 1;
    Original {
        format: format.name(),
        media_type: format.media_type(),
        bytes: original.len() as u64,
        width,
        height,
        stored_width: header.width,
        stored_height: header.height,
        orientation: orientation::to_exif(orientation),
        frames: header.frames,
        duration_ms: is_animated.then_some(details.duration),
        plays: is_animated.then_some(details.plays),
        alpha: header.has_transparency,
        profile: profile.map(|profile| profile.description().unwrap_or_default()),
        progressive: details.is_progressive,
        exif: header.exif.is_some(),
        gps: header.exif.as_deref().is_some_and(exif::has_position),
    }
}

/// The image that the same options would give. Fails as the request for it would.
fn outcome(
    source: &Source,
    options: &Options,
    (fail_on, bounds): (FailOn, &Bounds),
    trimmed_size: Option<(u32, u32)>,
) -> Result<Outcome, Failure> {
    let &Source { readable, format: original, header, .. } = source;
    let format = result_format(options, original);
    let frames = Frames::select(header.frames, options, format)?;
    check_container(&inspect(readable, original)?, frames, fail_on, bounds)?;
    bounds.check_header(header.width, header.height, frames.decoded())?;
    let mut job = RenderJob::new(options, header, (original, format), frames, fail_on)?;
    if let Some(size) = trimmed_size {
        job.set_trimmed_size(size);
    }
    check_sizes(&job, bounds)?;
    let (width, height) = job.result();
    Ok(Outcome::Image {
        format: format.name(),
        media_type: format.media_type(),
        width,
        height,
        frames: frames.count,
    })
}
