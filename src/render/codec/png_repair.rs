//! The chunks of a PNG that count, as in browsers. libspng believes ancillary chunks with a wrong checksum when it
//! decodes as far as possible (`fail_on`), and refuses some that browsers accept; libvips gets a file without either.

use super::png::{Chunk, SIGNATURE, chunks, crc, numbers};

/// Chunks that change what is shown, of which the first valid one counts (W3C PNG §5.6).
const KINDS: [[u8; 4]; 7] = [*b"cICP", *b"iCCP", *b"sRGB", *b"gAMA", *b"cHRM", *b"tRNS", *b"eXIf"];
/// The color type of palette images (§11.2.1).
const PALETTE: u8 = 3;
/// Longest name of a profile (§11.3.2.3).
const MAX_NAME: usize = 79;

/// What is done with a chunk before the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict<'b> {
    Keep,
    Drop,
    /// Its data is this instead.
    Replace(&'b [u8]),
    /// Browsers don't show the image.
    Refuse,
}

/// Judges the chunks of one file in their order.
#[derive(Debug, Default)]
struct Judge {
    color_type: u8,
    /// Entries of `PLTE`.
    palette: Option<usize>,
    /// The `KINDS` of which a valid chunk has occurred.
    seen: Vec<[u8; 4]>,
}

impl Judge {
    fn judge<'b>(&mut self, chunk: &Chunk<'b>) -> Verdict<'b> {
        let Chunk { kind, data, .. } = *chunk;
        match &kind {
            b"IHDR" | b"PLTE" if !chunk.is_intact() => return Verdict::Refuse,
            b"IHDR" => self.color_type = data.get(9).copied().unwrap_or(0),
            b"PLTE" if self.palette.is_some() => return Verdict::Refuse,
            b"PLTE" => self.palette = Some(data.len() / 3),
            _ => {}
        }
        if !KINDS.contains(&kind) {
            return Verdict::Keep;
        }
        if self.seen.contains(&kind) || !chunk.is_intact() {
            return Verdict::Drop;
        }
        let verdict = match &kind {
            b"tRNS" => self.judge_transparency(data),
            // §5.6
            b"cICP" if self.palette.is_some() => Verdict::Drop,
            _ if has_valid_length(kind, data) => Verdict::Keep,
            _ => Verdict::Drop,
        };
        if verdict != Verdict::Drop {
            self.seen.push(kind);
        }
        verdict
    }

    /// §11.3.1.1. Browsers ignore what is too much.
    fn judge_transparency<'b>(&self, data: &'b [u8]) -> Verdict<'b> {
        let length = match (self.color_type, self.palette) {
            (0, _) => 2,
            (2, _) => 6,
            (PALETTE, Some(entries)) => entries.min(data.len()),
            _ => return Verdict::Drop,
        };
        match data.get(..length) {
            None | Some([]) => Verdict::Drop,
            Some(part) if part.len() < data.len() => Verdict::Replace(part),
            Some(_) => Verdict::Keep,
        }
    }
}

/// Whether a colour chunk has the length of its kind (§11.3.2), and a value at all.
fn has_valid_length(kind: [u8; 4], data: &[u8]) -> bool {
    match &kind {
        b"cICP" => data.len() == 4,
        b"sRGB" => matches!(data, [0..=3]),
        b"gAMA" => numbers(data).is_some_and(|[gamma]| gamma > 0),
        b"cHRM" => data.len() == 32,
        // The first iCCP or eXIf counts even if it can't be read.
        _ => true,
    }
}

/// The chunks before the pixels that count.
pub fn valid_chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut judge = Judge::default();
    before_pixels(bytes)
        .filter(move |chunk| matches!(judge.judge(chunk), Verdict::Keep | Verdict::Replace(_)))
}

fn before_pixels(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let all = chunks(bytes).into_iter().flatten();
    all.take_while(|chunk| chunk.is_whole && ![*b"IDAT", *b"IEND"].contains(&chunk.kind))
}

/// Whether libvips needs a [`repaired`] file. An error is a reason why browsers don't show the image.
pub fn needs_repair(bytes: &[u8]) -> Result<bool, &'static str> {
    let mut judge = Judge::default();
    let mut needs_repair = false;
    for chunk in before_pixels(bytes) {
        let verdict = judge.judge(&chunk);
        if verdict == Verdict::Refuse {
            return Err("its IHDR or PLTE chunk is damaged or repeated");
        }
        let is_read = &chunk.kind != b"iCCP" || is_read_by_libspng(&chunk, judge.palette.is_some());
        needs_repair |= verdict != Verdict::Keep || !is_read;
    }
    Ok(needs_repair)
}

/// The file with the chunks that count, in an order and of a form that libspng reads.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(SIGNATURE);
    let mut judge = Judge::default();
    let mut profile_at = out.len();
    let mut end = SIGNATURE.len();
    for chunk in before_pixels(bytes) {
        end += 12 + chunk.data.len();
        let data = match judge.judge(&chunk) {
            Verdict::Keep => chunk.data,
            Verdict::Replace(data) => data,
            Verdict::Drop | Verdict::Refuse => continue,
        };
        match (&chunk.kind, split_name(data)) {
            (b"iCCP", Some((_, profile))) => {
                let data = [b"icc\0", profile].concat();
                out.splice(profile_at..profile_at, written(b"iCCP", &data));
            }
            _ => out.extend(written(&chunk.kind, data)),
        }
        if &chunk.kind == b"IHDR" {
            profile_at = out.len();
        }
    }
    out.extend_from_slice(bytes.get(end..).unwrap_or_default());
    out
}

fn written(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length, &kind[..], data, &crc(kind, data).to_be_bytes()].concat()
}

/// The name of a profile, and what follows its NUL. `None` without a name, which browsers ignore.
fn split_name(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == 0).filter(|end| *end > 0)?;
    Some((data.get(..end)?, data.get(end + 1..)?))
}

/// Whether libspng reads a profile: not after the palette, nor with a name that §11.3.2.3 forbids.
fn is_read_by_libspng(chunk: &Chunk, is_after_palette: bool) -> bool {
    !is_after_palette && split_name(chunk.data).is_none_or(|(name, _)| is_name(name))
}

/// Whether the profile that libspng has decompressed is undamaged. libspng ignores the checksum of the compressed data
/// (RFC 1950), which ends the chunk unless more follows.
pub fn is_profile_intact(bytes: &[u8], profile: &[u8]) -> bool {
    let checksum = adler(profile).to_be_bytes();
    let mut found = valid_chunks(bytes).filter(|chunk| &chunk.kind == b"iCCP");
    found.any(|chunk| chunk.data.windows(4).rev().any(|window| window == checksum))
}

/// Adler-32 (RFC 1950 §8.2).
fn adler(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    b << 16 | a
}

/// Whether a name is Latin-1 text without spaces at its ends and without two in a row.
fn is_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME
        && name.iter().all(|byte| matches!(byte, 32..=126 | 161..=255))
        && !name.starts_with(b" ")
        && !name.ends_with(b" ")
        && !name.windows(2).any(|pair| pair == b"  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 13] = [0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0];

    fn damaged(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut chunk = written(kind, data);
        *chunk.last_mut().unwrap() ^= 1;
        chunk
    }

    /// A file of this color type with these chunks between its header and its pixels.
    fn file(color_type: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut header = HEADER;
        header[9] = color_type;
        let end = [written(b"IDAT", b"pixels"), written(b"eXIf", b"later"), written(b"IEND", b"")];
        [SIGNATURE, &written(b"IHDR", &header), &chunks.concat(), &end.concat()].concat()
    }

    /// The chunks of the file for libvips between its header and its pixels.
    fn remaining(color_type: u8, chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let bytes = file(color_type, chunks);
        let needed = needs_repair(&bytes).unwrap();
        let repaired = if needed { repaired(&bytes) } else { bytes };
        assert_eq!(needs_repair(&repaired), Ok(false));
        let inside = before_pixels(&repaired).skip(1);
        let inside: Vec<_> = inside.map(|chunk| written(&chunk.kind, chunk.data)).collect();
        assert_eq!(repaired, file(color_type, &inside), "the rest is unchanged");
        inside
    }

    #[test]
    fn png_ancillary_chunks_with_a_wrong_crc_are_left_out() {
        let palette = written(b"PLTE", &[0; 6]);
        let text = written(b"tEXt", b"a\0b");
        for kind in KINDS {
            let (data, other): (&[u8], &[u8]) = match &kind {
                b"cICP" => (&[12, 13, 0, 1], &[1, 13, 0, 1]),
                b"sRGB" => (&[0], &[1]),
                b"gAMA" => (&[0, 1, 0, 0], &[0, 0, 1, 0]),
                b"cHRM" => (&[1; 32], &[2; 32]),
                b"tRNS" => (&[1, 2], &[3, 4]),
                _ => (b"x\0\0ab", b"y\0\0cd"),
            };
            let (first, second) = (written(&kind, data), written(&kind, other));
            let wrong = damaged(&kind, data);
            assert_eq!(remaining(0, &[first.clone(), text.clone()]), [&first[..], &text]);
            assert!(remaining(0, std::slice::from_ref(&wrong)).is_empty());
            // The first valid one counts.
            let kept = |chunks: &[Vec<u8>]| -> Vec<_> {
                valid_chunks(&file(0, chunks)).skip(1).map(|chunk| chunk.data.to_vec()).collect()
            };
            assert_eq!(kept(&[wrong.clone(), second.clone(), first.clone()]), [other]);
            assert_eq!(kept(&[first.clone(), second.clone(), wrong]), [data]);
            assert_eq!(remaining(0, &[first.clone(), second]).len(), 1);
            let after = remaining(2, &[palette.clone(), first]);
            assert_eq!(after.len(), if [b"cICP", b"tRNS"].contains(&&kind) { 1 } else { 2 });
        }
        // Others change nothing.
        let text = damaged(b"tEXt", b"a\0b");
        let bytes = file(0, &[text]);
        assert_eq!(needs_repair(&bytes), Ok(false));
    }

    #[test]
    fn png_images_with_a_damaged_header_or_palette_are_refused() {
        let palette = written(b"PLTE", &[0; 6]);
        assert_eq!(needs_repair(&file(3, std::slice::from_ref(&palette))), Ok(false));
        for bytes in [
            [SIGNATURE, &damaged(b"IHDR", &HEADER)].concat(),
            file(3, &[damaged(b"PLTE", &[0; 6])]),
            file(2, &[damaged(b"PLTE", &[0; 6])]),
            file(3, &[palette.clone(), palette]),
        ] {
            assert!(needs_repair(&bytes).is_err());
        }
    }

    #[test]
    fn png_transparency_is_cut_to_its_length() {
        let palette = written(b"PLTE", &[0; 6]);
        let transparency = |length: usize| written(b"tRNS", &vec![7; length]);
        for (color_type, length, kept) in [
            (0, 1, 0),
            (0, 2, 2),
            (0, 3, 2),
            (2, 5, 0),
            (2, 6, 6),
            (2, 8, 6),
            (3, 0, 0),
            (3, 1, 1),
            (3, 2, 2),
            (3, 256, 2),
            (4, 2, 0),
            (6, 6, 0),
        ] {
            let left = remaining(color_type, &[palette.clone(), transparency(length)]);
            let expected: Vec<_> = (kept > 0).then(|| transparency(kept)).into_iter().collect();
            assert_eq!(left[1..], expected, "{color_type} {length}");
        }
        assert_eq!(remaining(3, &[transparency(1), palette.clone()]), [palette]);
    }

    #[test]
    fn png_profile_is_moved_and_renamed_for_libspng() {
        let palette = written(b"PLTE", &[0; 6]);
        let text = written(b"tEXt", b"a\0b");
        let profile = |name: &[u8]| written(b"iCCP", &[name, b"\0\0data"].concat());
        let renamed = profile(b"icc");
        for name in [&b" p"[..], b"p ", b"a  b", b"p\x01", b"\x80", &[b'p'; 80]] {
            assert_eq!(remaining(2, &[text.clone(), profile(name)]), [&renamed[..], &text]);
        }
        for name in [&b"p"[..], b"a b", "é".as_bytes(), &[b'p'; 79]] {
            assert_eq!(remaining(2, &[profile(name)]), [profile(name)]);
        }
        assert_eq!(remaining(3, &[palette.clone(), profile(b"p")]), [&renamed[..], &palette]);
        // Without a name it can't be read by anybody.
        assert_eq!(remaining(2, &[profile(b"")]), [profile(b"")]);
    }

    #[test]
    fn png_profile_has_its_checksum_in_the_chunk() {
        // RFC 1950: the Adler-32 of "Wikipedia" is the known 11e60398.
        let end: &[u8] = b"\x11\xe6\x03\x98";
        let bytes = |data: &[&[u8]]| file(2, &[written(b"iCCP", &data.concat())]);
        assert!(is_profile_intact(&bytes(&[b"p\0\0..", end]), b"Wikipedia"));
        assert!(is_profile_intact(&bytes(&[b"p\0\0..", end, b"more"]), b"Wikipedia"));
        assert!(!is_profile_intact(&bytes(&[b"p\0\0..", &end[..3]]), b"Wikipedia"));
        assert!(!is_profile_intact(&bytes(&[b"p\0\0..", end]), b"Wikipedib"));
        assert!(!is_profile_intact(&file(2, &[]), b"Wikipedia"));
    }

    #[test]
    fn png_repair_of_damaged_files_does_not_panic() {
        let chunks = [
            written(b"PLTE", &[0; 6]),
            damaged(b"tRNS", &[1, 2]),
            written(b"tRNS", &[1, 2, 3]),
            written(b"iCCP", b" p\0\0data"),
        ];
        let whole = file(3, &chunks);
        for end in 0..whole.len() {
            let _ = (needs_repair(&whole[..end]), repaired(&whole[..end]));
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = (needs_repair(&changed), repaired(&changed));
            }
        }
    }
}
