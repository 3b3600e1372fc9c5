//! The tracks of an image sequence (`moov`, AVIF §3): one of pictures, and one of their alpha.

use std::borrow::Cow;

use super::boxes::{Boxes, Fields};
use super::error::Error;
use super::frames::Frames;
use super::properties::Description;
use super::reader::scan_described;
use super::sample_table::{Place, SampleTable};
use super::sequence::MAX_OBUS;
use super::track::{Track, read_entry};
use super::{Avif, Coded};

/// Tracks of a file. Two are used.
const MAX_TRACKS: usize = 16;
/// Frames that dav1d keeps to predict others from (AV1 §7.20), and the one that it decodes.
const KEPT_FRAMES: u32 = 8 + 1;

/// The part of an image sequence that is decoded.
pub struct Movie<'b> {
    pub colour: Stream<'b>,
    pub alpha: Option<Stream<'b>>,
    pub is_premultiplied: bool,
    pub delays: Vec<u32>,
    pub plays: u32,
}

/// The frames of a track.
pub struct Stream<'b> {
    pub description: Description<'b>,
    /// The first frame.
    pub coded: Coded<'b>,
    pub places: Vec<Place>,
}

/// Reads the tracks that browsers show: the first one of pictures, and the one that is its alpha.
pub fn read<'b>(file: &'b [u8], moov: &Fields<'b>) -> Result<Movie<'b>, Error> {
    let mut tracks = Vec::new();
    for inner in Boxes::children(moov) {
        let inner = inner?;
        if inner.name != *b"trak" {
            continue;
        }
        if tracks.len() == MAX_TRACKS {
            return Err(Error::unsupported(format!("it has more than {MAX_TRACKS} tracks")));
        }
        tracks.push(Track::read(&inner)?);
    }
    let pictures = tracks.iter().find(|track| track.handler == *b"pict");
    let track = pictures.ok_or_else(|| Error::corrupt("`moov` has no track of pictures"))?;
    let in_track = |error: Error| error.in_track(track.id);
    let samples = track.samples().map_err(in_track)?;
    let (description, _) = read_entry(samples.descriptions).map_err(in_track)?;
    let colour = read_stream(file, &samples, description).map_err(in_track)?;
    let delays = track.delays(&samples).map_err(in_track)?;
    let alpha = find_alpha(file, &tracks, track, &colour)?;
    Ok(Movie {
        is_premultiplied: match &alpha {
            Some((id, _)) => track.refers(*b"prem", *id)?,
            None => false,
        },
        colour,
        alpha: alpha.map(|(_, alpha)| alpha),
        delays,
        plays: track.plays,
    })
}

/// The track that is the alpha of another one, and its number.
fn find_alpha<'b>(
    file: &'b [u8],
    tracks: &[Track<'b>],
    colour_track: &Track<'b>,
    colour: &Stream<'b>,
) -> Result<Option<(u32, Stream<'b>)>, Error> {
    let mut found = None;
    for track in tracks {
        if track.handler != *b"auxv" || !track.refers(*b"auxl", colour_track.id)? {
            continue;
        }
        let in_track = |error: Error| error.in_track(track.id);
        let samples = track.samples().map_err(in_track)?;
        let (description, is_alpha) = read_entry(samples.descriptions).map_err(in_track)?;
        // Depth maps are ignored.
        if !is_alpha {
            continue;
        }
        let alpha = read_stream(file, &samples, description).map_err(in_track)?;
        check_alpha(&alpha, colour).map_err(in_track)?;
        if found.replace((track.id, alpha)).is_some() {
            return Err(Error::corrupt("it has two alpha planes").in_track(colour_track.id));
        }
    }
    Ok(found)
}

fn check_alpha(alpha: &Stream, colour: &Stream) -> Result<(), Error> {
    let (frames, of_colour) = (alpha.places.len(), colour.places.len());
    if frames != of_colour {
        let sentence = format!("alpha has {frames} frames and its pictures have {of_colour}");
        return Err(Error::corrupt(sentence));
    }
    let (alpha, colour) = (&alpha.coded, &colour.coded);
    if (alpha.width, alpha.height) != (colour.width, colour.height) {
        return Err(Error::corrupt("alpha has a different size"));
    }
    // AVIF §4.1: colour and alpha are converted together.
    if alpha.sequence.depth != colour.sequence.depth {
        return Err(Error::unsupported("alpha has a different depth"));
    }
    Ok(())
}

/// Reads where the frames are, and what the first one is.
fn read_stream<'b>(
    file: &'b [u8],
    samples: &SampleTable<'b>,
    description: Description<'b>,
) -> Result<Stream<'b>, Error> {
    let places = samples.places()?;
    let first = places.first().and_then(|place| place.slice(file));
    let bytes =
        first.ok_or_else(|| Error::corrupt("its first frame extends past the end of the file"))?;
    let (config, stream) =
        scan_described(&description, "sample entry", bytes, &mut MAX_OBUS.clone())?;
    let header = stream.header;
    if header.last_layer > 0 {
        return Err(Error::unsupported("its frames have layers"));
    }
    let tile = if stream.is_complete {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned([config.obus, bytes].concat())
    };
    let (width, height) = (header.width, header.height);
    let coded = Coded {
        width,
        height,
        tile_width: width,
        tile_height: height,
        columns: 1,
        rows: 1,
        max_frame_size: header.max_frame_size,
        frames: KEPT_FRAMES + u32::from(header.has_film_grain),
        tiles: vec![tile],
        sequence: header.sequence,
    };
    Ok(Stream { description, coded, places })
}

impl<'b> Movie<'b> {
    /// The image of the first frame, with all frames.
    pub fn into_avif(self, file: &'b [u8]) -> Avif<'b> {
        let Stream { description, coded, places } = self.colour;
        let (alpha, alpha_places) = match self.alpha {
            Some(alpha) => (Some(alpha.coded), alpha.places),
            None => (None, Vec::new()),
        };
        let frames = Frames::new(file, places, alpha_places, self.delays, self.plays);
        Avif {
            colour: coded,
            alpha,
            is_premultiplied: self.is_premultiplied,
            crop: description.crop,
            orientation: description.orientation,
            nclx: description.nclx,
            icc: description.icc.filter(|icc| !icc.is_empty()),
            exif: None,
            xmp: None,
            metadata_bytes: 0,
            frames: Some(frames),
        }
    }
}
