//! ICC profiles (ICC.1:2022): which of them can be used, for images of which channels. No colour is computed here.

use super::cursor::Cursor;
use super::icc_curve::Curve;

/// Bytes of a header (§7.2).
const HEADER: usize = 128;
/// Bytes of an entry of the tag table (§7.3): name, offset, length.
const ENTRY: usize = 12;
/// Newer profiles (ICC.2) have other tags.
const MAX_VERSION: u8 = 4;
/// Longest name of a profile, in characters.
const MAX_NAME: usize = 100;
/// D50 (§7.2.16).
pub const D50: [f64; 3] = [0.9642, 1.0, 0.8249];
/// `s15Fixed16Number` is rounded, and so are the colorants of some profiles.
const WHITE_TOLERANCE: f64 = 0.02;

/// The channels of an image without transparency, or of the colours that a profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    Gray,
    Rgb,
    Cmyk,
}

/// A profile that describes the colours of an image.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'p> {
    bytes: &'p [u8],
    pub channels: Channels,
}

impl<'p> Profile<'p> {
    /// `None` for what browsers ignore: a damaged profile, one of another kind (device link, abstract, named colours),
    /// one for other channels (Lab), and one without the tags that a conversion needs.
    pub fn parse(bytes: &'p [u8]) -> Option<Profile<'p>> {
        let mut cursor = Cursor::new(bytes);
        let length = cursor.u32_be()?;
        // Tags are looked for within the length that the profile has by itself.
        let bytes = bytes.get(..usize::try_from(length).ok()?)?;
        let class = field(bytes, 12)?;
        if &field(bytes, 36)? != b"acsp"
            || *bytes.get(8)? > MAX_VERSION
            || [b"link", b"abst", b"nmcl"].contains(&&class)
        {
            return None;
        }
        let channels = match &field(bytes, 16)? {
            b"GRAY" => Channels::Gray,
            b"RGB " => Channels::Rgb,
            b"CMYK" => Channels::Cmyk,
            _ => return None,
        };
        let profile = Profile { bytes, channels };
        (profile.has_whole_tags() && profile.has_needed_tags()?).then_some(profile)
    }

    /// Whether it can be applied to an image with these channels. A profile of RGB applies to grayscale, as red, green
    /// and blue of the same value.
    pub fn fits(&self, channels: Channels) -> bool {
        self.channels == channels || (self.channels, channels) == (Channels::Rgb, Channels::Gray)
    }

    /// The curves of a profile without a table: one for gray, or those of red, green and blue.
    pub fn tones(&self) -> Option<Vec<Curve>> {
        let names: &[&[u8; 4]] = match self.channels {
            _ if self.has_table() => return None,
            Channels::Gray => &[b"kTRC"],
            Channels::Rgb => &[b"rTRC", b"gTRC", b"bTRC"],
            Channels::Cmyk => return None,
        };
        names.iter().map(|name| Curve::parse(self.tag(name)?)).collect()
    }

    /// The tags with the light of red, green and blue, unless it has a table.
    pub fn colorants(&self) -> Option<[&'p [u8]; 3]> {
        if self.has_table() {
            return None;
        }
        Some([self.tag(b"rXYZ")?, self.tag(b"gXYZ")?, self.tag(b"bXYZ")?])
    }

    /// The curve tag that red, green and blue have in common, if equal values of them are gray.
    pub fn gray_curve(&self) -> Option<&'p [u8]> {
        if self.channels != Channels::Rgb || self.has_table() {
            return None;
        }
        let [red, green, blue] = [b"rTRC", b"gTRC", b"bTRC"].map(|name| self.tag(name));
        let curve = red.filter(|red| Some(*red) == green && Some(*red) == blue)?;
        let mut white = [0.0; 3];
        for name in [b"rXYZ", b"gXYZ", b"bXYZ"] {
            let light = xyz(self.tag(name)?)?;
            white.iter_mut().zip(light).for_each(|(sum, part)| *sum += part);
        }
        let is_neutral =
            white.iter().zip(D50).all(|(sum, d50)| (sum - d50).abs() < WHITE_TOLERANCE);
        is_neutral.then_some(curve)
    }

    /// A profile that has its table for perceptual intent as the one for colorimetric intent. `None` if it has none.
    pub fn with_perceptual_table(&self) -> Option<Vec<u8>> {
        let place = |name: &[u8; 4]| {
            let index = self.entries().position(|(found, _)| found == *name)?;
            Some(HEADER + 4 + ENTRY * index)
        };
        let perceptual = place(b"A2B0")?;
        let entry: [u8; ENTRY] = self.bytes.get(perceptual..perceptual + ENTRY)?.try_into().ok()?;
        let at = place(b"A2B1").unwrap_or(perceptual);
        let mut bytes = self.bytes.to_vec();
        bytes.get_mut(at..at + ENTRY)?.copy_from_slice(&entry);
        bytes.get_mut(at..at + 4)?.copy_from_slice(b"A2B1");
        Some(bytes)
    }

    /// Its name (§9.2.41), of at most [`MAX_NAME`] characters and without control characters.
    pub fn description(&self) -> Option<String> {
        let tag = self.tag(b"desc")?;
        let text = multi_localized_text(tag).or_else(|| ascii_text(tag))?;
        let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether every tag is inside the profile.
    fn has_whole_tags(&self) -> bool {
        let count = self.bytes.get(HEADER..).and_then(|rest| Cursor::new(rest).u32_be());
        let whole = self.entries().filter(|(_, data)| data.is_some()).count();
        count.is_some_and(|count| u64::from(count) == whole as u64)
    }

    fn has_needed_tags(&self) -> Option<bool> {
        let is_xyz = match &field(self.bytes, 20)? {
            b"XYZ " => true,
            b"Lab " => false,
            _ => return None,
        };
        let has = |names: &[&[u8; 4]]| names.iter().all(|name| self.tag(name).is_some());
        let has_curves = match self.channels {
            Channels::Gray => self.tones().is_some(),
            Channels::Rgb => has(&[b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ"]),
            Channels::Cmyk => false,
        };
        Some(self.has_table() || (is_xyz && has_curves))
    }

    /// Whether it has a table for perceptual or colorimetric intent.
    fn has_table(&self) -> bool {
        self.tag(b"A2B0").or_else(|| self.tag(b"A2B1")).is_some()
    }

    /// The first tag of this name.
    fn tag(&self, name: &[u8; 4]) -> Option<&'p [u8]> {
        self.entries().find(|(found, _)| found == name)?.1
    }

    /// The entries of the tag table (§7.3): the name, and the data if it is inside the profile.
    fn entries(&self) -> impl Iterator<Item = ([u8; 4], Option<&'p [u8]>)> {
        let bytes = self.bytes;
        let mut cursor = Cursor::new(bytes.get(HEADER..).unwrap_or_default());
        let count = cursor.u32_be().unwrap_or(0);
        (0..count).map_while(move |_| {
            let name = cursor.array()?;
            let start = usize::try_from(cursor.u32_be()?).ok()?;
            let length = usize::try_from(cursor.u32_be()?).ok()?;
            Some((name, start.checked_add(length).and_then(|end| bytes.get(start..end))))
        })
    }
}

/// Four bytes of a header.
fn field(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// The first text of a tag of type `mluc` (§10.15), in whatever language.
fn multi_localized_text(tag: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(tag.strip_prefix(b"mluc\0\0\0\0")?);
    // Number and length of the records; language and country of the first.
    let [_, _, _] = [cursor.u32_be()?, cursor.u32_be()?, cursor.u32_be()?];
    let length = usize::try_from(cursor.u32_be()?).ok()?;
    let start = usize::try_from(cursor.u32_be()?).ok()?;
    let text = tag.get(start..start.checked_add(length)?)?;
    let (units, _) = text.as_chunks::<2>();
    let units = units.iter().take(MAX_NAME).map(|unit| u16::from_be_bytes(*unit));
    Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// The text of a tag of type `desc` (ICC.1:2001 §6.5.17), which version 4 does not have.
fn ascii_text(tag: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(tag.strip_prefix(b"desc\0\0\0\0")?);
    let length = usize::try_from(cursor.u32_be()?).ok()?;
    let text = cursor.take_at_most(length.min(MAX_NAME));
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
}

/// The first colour of a tag of type `XYZ ` (§10.31).
fn xyz(tag: &[u8]) -> Option<[f64; 3]> {
    let mut cursor = Cursor::new(tag.strip_prefix(b"XYZ \0\0\0\0")?);
    let mut number = || Some(f64::from(cursor.u32_be()?.cast_signed()) / 65_536.0);
    Some([number()?, number()?, number()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile with these tags.
    fn profile(channels: &[u8; 4], connection: &[u8; 4], tags: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut table = (tags.len() as u32).to_be_bytes().to_vec();
        let mut data = Vec::new();
        for (name, tag) in tags {
            table.extend_from_slice(*name);
            table.extend((132 + 12 * tags.len() as u32 + data.len() as u32).to_be_bytes());
            table.extend((tag.len() as u32).to_be_bytes());
            data.extend_from_slice(tag);
        }
        let length = ((HEADER + table.len() + data.len()) as u32).to_be_bytes();
        let version = b"\x04\x20\0\0";
        let mut bytes = [&length[..], b"none", version, b"mntr", channels, connection].concat();
        bytes.resize(36, 0);
        bytes.extend(b"acsp");
        bytes.resize(HEADER, 0);
        [bytes, table, data].concat()
    }

    const CURVE: &[u8] = b"curv\0\0\0\0\0\0\0\x01\x01\0";

    /// A colorant with a third of the light of D50.
    fn third() -> Vec<u8> {
        let numbers = D50.map(|part| ((part / 3.0 * 65_536.0) as i32).to_be_bytes());
        [b"XYZ \0\0\0\0", numbers.as_flattened()].concat()
    }

    fn matrix(blue_curve: &[u8], blue: &[u8]) -> Vec<u8> {
        let third = &third()[..];
        let tags: [(&[u8; 4], &[u8]); 6] = [
            (b"rTRC", CURVE),
            (b"gTRC", CURVE),
            (b"bTRC", blue_curve),
            (b"rXYZ", third),
            (b"gXYZ", third),
            (b"bXYZ", blue),
        ];
        profile(b"RGB ", b"XYZ ", &tags)
    }

    #[test]
    fn icc_profiles_fit_images_with_their_channels() {
        use Channels::{Cmyk, Gray, Rgb};
        let table: (&[u8; 4], &[u8]) = (b"A2B0", b"mft1");
        let curve: (&[u8; 4], &[u8]) = (b"kTRC", CURVE);
        for (bytes, fitting) in [
            (profile(b"GRAY", b"XYZ ", &[curve]), &[Gray][..]),
            (profile(b"GRAY", b"Lab ", &[table]), &[Gray]),
            (matrix(CURVE, &third()), &[Gray, Rgb]),
            (profile(b"RGB ", b"Lab ", &[table]), &[Gray, Rgb]),
            (profile(b"CMYK", b"Lab ", &[table]), &[Cmyk]),
        ] {
            let profile = Profile::parse(&bytes).unwrap();
            for channels in [Gray, Rgb, Cmyk] {
                assert_eq!(profile.fits(channels), fitting.contains(&channels), "{profile:?}");
            }
        }
    }

    #[test]
    fn icc_profiles_that_browsers_ignore_are_not_parsed() {
        let good = profile(b"GRAY", b"XYZ ", &[(b"kTRC", CURVE)]);
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            bytes
        };
        assert!(Profile::parse(&good).is_some());
        assert!(Profile::parse(&[&good[..], b"more"].concat()).is_some());
        for bytes in [
            Vec::new(),
            changed(0, &[0; 4]),
            changed(0, &(good.len() as u32 + 1).to_be_bytes()),
            changed(0, &(good.len() as u32 - 1).to_be_bytes()),
            changed(8, &[5]),
            changed(12, b"link"),
            changed(12, b"nmcl"),
            changed(12, b"abst"),
            changed(16, b"Lab "),
            changed(16, b"YCbr"),
            changed(20, b"GRAY"),
            changed(36, b"ascp"),
            changed(128, &u32::MAX.to_be_bytes()),
            changed(132, b"kTRX"),
            changed(144, b"CURV"),
            changed(136, &u32::MAX.to_be_bytes()),
            changed(140, &u32::MAX.to_be_bytes()),
            // A curve to lightness, which browsers don't apply.
            changed(20, b"Lab "),
            profile(b"RGB ", b"XYZ ", &[(b"rTRC", CURVE), (b"gTRC", CURVE), (b"bTRC", CURVE)]),
            profile(b"CMYK", b"XYZ ", &[(b"kTRC", CURVE)]),
        ] {
            assert!(Profile::parse(&bytes).is_none(), "{bytes:?}");
        }
        for end in 0..good.len() {
            assert!(Profile::parse(&good[..end]).is_none());
        }
    }

    #[test]
    fn icc_perceptual_table_replaces_the_colorimetric_one() {
        let (first, second): (&[u8], &[u8]) = (b"mft1", b"mft2");
        for tags in [
            &[(b"A2B0", first)][..],
            &[(b"A2B0", first), (b"A2B1", second)],
            &[(b"A2B1", second), (b"A2B0", first)],
        ] {
            let bytes = profile(b"RGB ", b"Lab ", tags);
            let changed = Profile::parse(&bytes).unwrap().with_perceptual_table().unwrap();
            assert_eq!(Profile::parse(&changed).unwrap().tag(b"A2B1"), Some(first));
        }
        let colorimetric = profile(b"RGB ", b"Lab ", &[(b"A2B1", second)]);
        assert_eq!(Profile::parse(&colorimetric).unwrap().with_perceptual_table(), None);
    }

    #[test]
    fn icc_description_is_read_from_both_types_of_tag() {
        let name = |tag: &[u8]| {
            let bytes = profile(b"GRAY", b"XYZ ", &[(b"kTRC", CURVE), (b"desc", tag)]);
            Profile::parse(&bytes).unwrap().description()
        };
        let localized = |text: &str| {
            let units: Vec<[u8; 2]> = text.encode_utf16().map(u16::to_be_bytes).collect();
            let length = (units.len() as u32 * 2).to_be_bytes();
            let start = b"mluc\0\0\0\0\0\0\0\x01\0\0\0\x0cenUS";
            [&start[..], &length, &28_u32.to_be_bytes(), units.as_flattened()].concat()
        };
        assert_eq!(name(&localized("Größe 🎨")).as_deref(), Some("Größe 🎨"));
        assert_eq!(name(b"desc\0\0\0\0\0\0\0\x05Name\0\0\0").as_deref(), Some("Name"));
        assert_eq!(name(b"desc\0\0\0\0\xff\xff\xff\xff a\nb").as_deref(), Some("ab"));
        assert_eq!(name(&localized(&"ab".repeat(99))).map(|text| text.len()), Some(MAX_NAME));
        let mut outside = localized("a");
        outside[20..28].fill(0xff);
        for tag in [&outside[..], b"mluc\0\0\0\0\0", b"text\0\0\0\0Name", b"", &localized(" ")] {
            assert_eq!(name(tag), None, "{tag:?}");
        }
        assert_eq!(Profile::parse(&matrix(CURVE, &third())).unwrap().description(), None);
    }

    #[test]
    fn icc_gray_curve_is_that_of_three_equal_ones() {
        let curve = |bytes: &[u8]| Profile::parse(bytes).unwrap().gray_curve().map(<[u8]>::to_vec);
        assert_eq!(curve(&matrix(CURVE, &third())), Some(CURVE.to_vec()));
        let other = b"curv\0\0\0\0\0\0\0\x01\x02\0";
        assert_eq!(curve(&matrix(other, &third())), None, "another curve");
        let dark = [b"XYZ \0\0\0\0", &[0_u8; 12][..]].concat();
        assert_eq!(curve(&matrix(CURVE, &dark)), None, "another white");
        assert_eq!(curve(&matrix(CURVE, b"XYZ ")), None, "no colorant");
        let table = profile(b"RGB ", b"Lab ", &[(b"A2B0", b"mft1")]);
        assert_eq!(curve(&table), None);
    }
}
