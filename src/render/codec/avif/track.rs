//! A track of an image sequence (AVIF §3; ISO/IEC 14496-12 §8.3, §8.4; ISO/IEC 23008-12 §7).

use super::boxes::{Boxes, Fields, Name, children, quoted, required};
use super::error::Error;
use super::properties::{Description, describe_samples, names_alpha};
use super::sample_table::SampleTable;

/// A track.
#[derive(Clone, Copy, Debug)]
pub struct Track<'b> {
    pub id: u32,
    /// `pict` for pictures, `auxv` for what belongs to them, such as alpha.
    pub handler: Name,
    /// How often it is shown; 0 is for ever.
    pub plays: u32,
    references: Option<Fields<'b>>,
    timescale: u32,
    table: Fields<'b>,
}

impl<'b> Track<'b> {
    /// Reads the boxes of `trak` down to the sample table.
    pub fn read(trak: &Fields<'b>) -> Result<Track<'b>, Error> {
        let [tkhd, edts, references, mdia] =
            children(trak, [*b"tkhd", *b"edts", *b"tref", *b"mdia"])?;
        let (id, duration) = read_header(required(trak, *b"tkhd", tkhd)?)?;
        let mdia = required(trak, *b"mdia", mdia)?;
        let [mdhd, hdlr, minf] = children(&mdia, [*b"mdhd", *b"hdlr", *b"minf"])?;
        let minf = required(&mdia, *b"minf", minf)?;
        let [stbl] = children(&minf, [*b"stbl"])?;
        Ok(Track {
            id,
            handler: read_handler(required(&mdia, *b"hdlr", hdlr)?)?,
            plays: read_plays(edts, duration).map_err(|error| error.in_track(id))?,
            references,
            timescale: read_timescale(required(&mdia, *b"mdhd", mdhd)?)?,
            table: required(&minf, *b"stbl", stbl)?,
        })
    }

    /// Whether a reference of this kind names a track (`tref`, §8.3.3).
    pub fn refers(&self, kind: Name, id: u32) -> Result<bool, Error> {
        for reference in self.references.iter().flat_map(Boxes::children) {
            let reference = reference?;
            let (ids, _) = reference.rest().as_chunks::<4>();
            if reference.name == kind && ids.contains(&id.to_be_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn samples(&self) -> Result<SampleTable<'b>, Error> {
        SampleTable::read(&self.table)
    }

    /// The time of each frame in milliseconds.
    pub fn delays(&self, samples: &SampleTable) -> Result<Vec<u32>, Error> {
        samples.delays(self.timescale)
    }
}

/// `tkhd` (§8.3.2): the number of the track and its duration, which is `u64::MAX` if there is no end.
fn read_header(mut tkhd: Fields) -> Result<(u32, u64), Error> {
    let (version, _) = tkhd.version_and_flags(1)?;
    let is_wide = version == 1;
    // Creation and modification.
    tkhd.u32_or_u64(is_wide)?;
    tkhd.u32_or_u64(is_wide)?;
    let id = tkhd.u32()?;
    tkhd.u32()?;
    let duration = match tkhd.u32_or_u64(is_wide)? {
        duration if !is_wide && duration == u64::from(u32::MAX) => u64::MAX,
        duration => duration,
    };
    if id == 0 {
        return Err(Error::corrupt("a track has the number 0"));
    }
    Ok((id, duration))
}

/// `mdhd` (§8.4.2): units of time in a second.
fn read_timescale(mut mdhd: Fields) -> Result<u32, Error> {
    let (version, _) = mdhd.version_and_flags(1)?;
    mdhd.u32_or_u64(version == 1)?;
    mdhd.u32_or_u64(version == 1)?;
    mdhd.u32()
}

/// `hdlr` (§8.4.3)
fn read_handler(mut hdlr: Fields) -> Result<Name, Error> {
    hdlr.version_and_flags(0)?;
    hdlr.u32()?;
    hdlr.name()
}

/// How often a track is shown, as libavif reads it: the edit list says that it is repeated until the end of the track
/// (ISO/IEC 23008-12 §9.6.1), or it is shown once. Without an edit list Chromium shows it for ever.
fn read_plays(edts: Option<Fields>, duration: u64) -> Result<u32, Error> {
    let Some(edts) = edts else { return Ok(0) };
    let [elst] = children(&edts, [*b"elst"])?;
    let mut elst = required(&edts, *b"elst", elst)?;
    let (version, flags) = elst.version_and_flags(1)?;
    let count = elst.u32()?;
    if flags & 1 == 0 {
        return Ok(1);
    }
    if count != 1 {
        let sentence = format!("`elst` repeats {count} edits; only one is supported");
        return Err(Error::unsupported(sentence));
    }
    let once = elst.u32_or_u64(version == 1)?;
    if once == 0 || duration == 0 {
        return Err(Error::corrupt("`elst` repeats nothing: a duration is 0"));
    }
    // More often than libavif counts is for ever.
    let plays = duration.div_ceil(once);
    Ok(if duration == u64::MAX || plays > i32::MAX as u64 { 0 } else { plays as u32 })
}

/// Reads the sample entry of a track (`stsd`, §8.5.2), of which there must be one, and whether it is one of alpha.
pub fn read_entry<'b>(mut stsd: Fields<'b>) -> Result<(Description<'b>, bool), Error> {
    stsd.version_and_flags(0)?;
    let count = stsd.u32()?;
    let mut entries = Boxes::children(&stsd);
    let (1, Some(entry)) = (count, entries.next()) else {
        return Err(Error::unsupported(format!("it has {count} sample entries, not one")));
    };
    let mut entry = entry?;
    if entry.name != *b"av01" {
        let sentence = format!("its frames are {}, not `av01`", quoted(entry.name));
        return Err(Error::unsupported(sentence));
    }
    // §12.1.3.2: fields of 24 bytes, the size, and 50 more bytes.
    entry.take(24)?;
    let size = (u32::from(entry.u16()?), u32::from(entry.u16()?));
    entry.take(50)?;
    let boxes = Boxes::children(&entry);
    let mut is_alpha = true;
    for inner in boxes.clone() {
        let mut inner = inner?;
        if inner.name == *b"auxi" {
            inner.version_and_flags(0)?;
            is_alpha = names_alpha(inner);
        }
    }
    Ok((describe_samples(boxes, size)?, is_alpha))
}
