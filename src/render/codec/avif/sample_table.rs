//! The sample table of a track (ISO/IEC 14496-12 §8.5 to §8.7): where its frames are, and how long each is shown. Each
//! sample is a frame (AV1-ISOBMFF §2.4).
//!
//! Every count is compared with a limit, and with the bytes of its table, before anything is allocated. Which samples
//! are key frames (`stss`) is not needed: frames are decoded in their order.

use super::boxes::{Fields, children, required};
use super::error::Error;

/// The most frames: `source_max_frames` allows no more.
const MAX_FRAMES: u32 = 100_000;

/// The boxes of `stbl`.
#[derive(Clone, Copy, Debug)]
pub struct SampleTable<'b> {
    /// `stsd`
    pub descriptions: Fields<'b>,
    times: Fields<'b>,
    chunks: Fields<'b>,
    sizes: Sizes<'b>,
    offsets: Offsets<'b>,
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub size: u32,
}

/// `stsz` or `stz2` (§8.7.3)
#[derive(Clone, Copy, Debug)]
struct Sizes<'b> {
    count: u32,
    /// The size of all samples; 0 if each has its own.
    same: u32,
    own: &'b [u8],
    /// Bits of a size: 4, 8, 16 or 32.
    bits: u8,
}

/// `stco` or `co64` (§8.7.5)
#[derive(Clone, Copy, Debug)]
struct Offsets<'b> {
    bytes: &'b [u8],
    is_wide: bool,
}

impl<'b> SampleTable<'b> {
    /// Reads the boxes of `stbl`, and the number of samples.
    pub fn read(stbl: &Fields<'b>) -> Result<SampleTable<'b>, Error> {
        let names = [*b"stsd", *b"stts", *b"stsc", *b"stsz", *b"stz2", *b"stco", *b"co64"];
        let [stsd, stts, stsc, stsz, stz2, stco, co64] = children(stbl, names)?;
        let both = |one: &str, other: &str| {
            Error::corrupt(format!("`stbl` has both `{one}` and `{other}`"))
        };
        let sizes = match (stsz, stz2) {
            (Some(stsz), None) => Sizes::read(stsz)?,
            (None, Some(stz2)) => Sizes::read_compact(stz2)?,
            (Some(_), Some(_)) => return Err(both("stsz", "stz2")),
            (None, None) => return Err(Error::corrupt("`stbl` has no `stsz` box")),
        };
        let offsets = match (stco, co64) {
            (Some(stco), None) => Offsets::read(stco, false)?,
            (None, Some(co64)) => Offsets::read(co64, true)?,
            (Some(_), Some(_)) => return Err(both("stco", "co64")),
            (None, None) => return Err(Error::corrupt("`stbl` has no `stco` box")),
        };
        if sizes.count == 0 {
            return Err(Error::corrupt("it has no frame"));
        }
        if sizes.count > MAX_FRAMES {
            let count = sizes.count;
            let sentence = format!("it has {count} frames; at most {MAX_FRAMES} are allowed");
            return Err(Error::unsupported(sentence));
        }
        Ok(SampleTable {
            descriptions: required(stbl, *b"stsd", stsd)?,
            times: required(stbl, *b"stts", stts)?,
            chunks: required(stbl, *b"stsc", stsc)?,
            sizes,
            offsets,
        })
    }

    /// Where the samples are, by `stsc` (§8.7.4): runs of chunks, each with its first chunk, counted from 1, the samples
    /// in a chunk, and the sample entry, of which there is one.
    pub fn places(&self) -> Result<Vec<Place>, Error> {
        let mut runs = entries::<3>(self.chunks)?.peekable();
        let mut places = Vec::with_capacity(self.sizes.count as usize);
        let mut in_chunk = 0;
        for (number, offset) in (1_u32..).zip(self.offsets.iter()) {
            if let Some([_, samples, entry]) = runs.next_if(|[first, ..]| *first == number) {
                if entry != 1 {
                    return Err(Error::corrupt(format!("`stsc` names the sample entry {entry}")));
                }
                in_chunk = samples;
            }
            if in_chunk == 0 {
                return Err(Error::corrupt(format!("chunk {number} has no frame")));
            }
            let mut offset = offset;
            for _ in 0..in_chunk {
                let size = self.sizes.get(places.len()).ok_or_else(|| self.differ("more"))?;
                if size == 0 {
                    return Err(Error::corrupt(format!("frame {} is empty", places.len())));
                }
                places.push(Place { offset, size });
                offset = offset.saturating_add(size.into());
            }
        }
        if places.len() != self.sizes.count as usize {
            return Err(self.differ("fewer"));
        }
        if runs.peek().is_some() {
            return Err(Error::corrupt("`stsc` is not in the order of the chunks"));
        }
        Ok(places)
    }

    fn differ(&self, more: &str) -> Error {
        let count = self.sizes.count;
        Error::corrupt(format!("it has {count} frames and its chunks hold {more}"))
    }

    /// The time of each frame in milliseconds, by `stts` (§8.6.1.2). A time is rounded, and the error is carried over to
    /// the next frame.
    pub fn delays(&self, timescale: u32) -> Result<Vec<u32>, Error> {
        let scale = u64::from(timescale);
        let count = self.sizes.count as usize;
        let mut delays = Vec::with_capacity(count);
        let differ = || Error::corrupt(format!("`stts` does not have the times of {count} frames"));
        let (mut end, mut shown) = (0_u64, 0);
        for [samples, delta] in entries::<2>(self.times)? {
            for _ in 0..samples {
                if delays.len() == count {
                    return Err(differ());
                }
                // Less than 2⁵⁹: at most 2¹⁷ times of 2³².
                end += u64::from(delta);
                let rounded = (end * 1000 + scale / 2)
                    .checked_div(scale)
                    .ok_or_else(|| Error::corrupt("`mdhd` has the timescale 0"))?;
                delays.push(u32::try_from(rounded - shown).unwrap_or(u32::MAX));
                shown = rounded;
            }
        }
        if delays.len() == count { Ok(delays) } else { Err(differ()) }
    }
}

/// The entries of a table of `N` numbers each.
fn entries<'b, const N: usize>(
    mut table: Fields<'b>,
) -> Result<impl Iterator<Item = [u32; N]> + use<'b, N>, Error> {
    table.version_and_flags(0)?;
    let count = table.u32()? as usize;
    let bytes = table.take(count.saturating_mul(4 * N))?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.as_chunks::<N>().0.iter().map(|entry| entry.map(u32::from_be_bytes)))
}

impl<'b> Sizes<'b> {
    fn read(mut stsz: Fields<'b>) -> Result<Sizes<'b>, Error> {
        stsz.version_and_flags(0)?;
        let (same, count) = (stsz.u32()?, stsz.u32()?);
        let length = if same == 0 { (count as usize).saturating_mul(4) } else { 0 };
        Ok(Sizes { count, same, own: stsz.take(length)?, bits: 32 })
    }

    fn read_compact(mut stz2: Fields<'b>) -> Result<Sizes<'b>, Error> {
        stz2.version_and_flags(0)?;
        let [.., bits] = stz2.u32()?.to_be_bytes();
        let count = stz2.u32()?;
        if ![4, 8, 16].contains(&bits) {
            return Err(Error::corrupt(format!("`stz2` has sizes of {bits} bits")));
        }
        let length = (count as usize).saturating_mul(bits.into()).div_ceil(8);
        Ok(Sizes { count, same: 0, own: stz2.take(length)?, bits })
    }

    /// The size of a sample.
    fn get(&self, number: usize) -> Option<u32> {
        if number >= self.count as usize {
            return None;
        }
        if self.same > 0 {
            return Some(self.same);
        }
        if self.bits == 4 {
            let byte = u32::from(*self.own.get(number / 2)?);
            return Some(if number.is_multiple_of(2) { byte >> 4 } else { byte & 15 });
        }
        let size = self.own.chunks_exact(usize::from(self.bits / 8)).nth(number)?;
        Some(size.iter().fold(0, |size, byte| size << 8 | u32::from(*byte)))
    }
}

impl<'b> Offsets<'b> {
    fn read(mut fields: Fields<'b>, is_wide: bool) -> Result<Offsets<'b>, Error> {
        fields.version_and_flags(0)?;
        let count = fields.u32()? as usize;
        let bytes = fields.take(count.saturating_mul(if is_wide { 8 } else { 4 }))?;
        Ok(Offsets { bytes, is_wide })
    }

    fn iter(&self) -> impl Iterator<Item = u64> + use<'b> {
        let offset =
            |bytes: &[u8]| bytes.iter().fold(0, |offset, byte| offset << 8 | u64::from(*byte));
        self.bytes.chunks_exact(if self.is_wide { 8 } else { 4 }).map(offset)
    }
}
