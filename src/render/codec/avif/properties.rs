//! The properties of items (ISO/IEC 23008-12 §6.5, §9.3): an allow-list.
//!
//! An item with an unknown essential property is refused; other unknown properties are ignored. No property reaches a
//! decoder.

use super::boxes::{Boxes, Fields, quoted};
use super::error::Error;
use super::items::{Associations, Item, read_associations};
use super::{Chroma, Crop, Nclx, Orient};

/// Boxes in `ipco`. Encoders share properties between items; some do not.
const MAX_PROPERTIES: usize = 4096;
/// `ipma` boxes: one for each pair of version and flags (§9.3.1).
const MAX_IPMA_BOXES: usize = 4;
/// `irot` and `imir` of one item. MIAF §7.3.6.7 allows one of each; each costs a pass over the image.
const MAX_ORIENTATIONS: usize = 4;
/// Longest side of AV1 (§5.5.1: 16 bits, minus 1).
const MAX_SIDE: u32 = 1 << 16;

/// A box of `ipco`.
pub type Property<'b> = Fields<'b>;

/// Reads `iprp` (§9.3.1): returns the boxes of `ipco` and sets the associations of each item.
pub fn read<'b>(iprp: Fields<'b>, items: &mut [Item<'b>]) -> Result<Vec<Property<'b>>, Error> {
    let mut properties = None;
    let mut boxes = 0;
    for inner in Boxes::children(&iprp) {
        let inner = inner?;
        match &inner.name {
            b"ipco" => {
                let all = Boxes::children(&inner)
                    .take(MAX_PROPERTIES + 1)
                    .collect::<Result<Vec<_>, _>>()?;
                if all.len() > MAX_PROPERTIES {
                    let sentence = format!("`ipco` has more than {MAX_PROPERTIES} properties");
                    return Err(Error::unsupported(sentence));
                }
                if properties.replace(all).is_some() {
                    return Err(Error::corrupt("`iprp` has two `ipco` boxes"));
                }
            }
            b"ipma" => {
                boxes += 1;
                if boxes > MAX_IPMA_BOXES {
                    return Err(Error::unsupported("`iprp` has too many `ipma` boxes"));
                }
                read_associations(inner, items)?;
            }
            _ => {}
        }
    }
    properties.ok_or_else(|| Error::corrupt("`iprp` has no `ipco` box"))
}

/// The properties of an item, each with whether it is essential.
fn properties_of<'b>(
    item: &Item<'b>,
    all: &[Property<'b>],
) -> impl Iterator<Item = Result<(bool, Property<'b>), Error>> {
    let associations = item.associations.iter().flat_map(Associations::iter);
    // Index 0 means no property.
    associations.filter(|(_, index)| *index > 0).map(|(is_essential, index)| {
        let property = index.checked_sub(1).and_then(|index| all.get(index));
        let property = property.ok_or_else(|| {
            Error::corrupt(format!("its property {index} is not in `ipco`")).in_item(item.id)
        })?;
        Ok((is_essential, *property))
    })
}

/// Whether an auxiliary image is an alpha plane (`auxC`, §6.5.8; MIAF §7.3.5.2).
pub fn is_alpha(item: &Item, all: &[Property]) -> Result<bool, Error> {
    for property in properties_of(item, all) {
        let (_, mut property) = property?;
        if property.name == *b"auxC" {
            property.version_and_flags(0)?;
            return Ok(names_alpha(property));
        }
    }
    Ok(false)
}

/// Whether the URN of `auxC`, or of `auxi` in a sample entry, is that of alpha.
pub fn names_alpha(property: Property) -> bool {
    let name = property.rest().split(|byte| *byte == 0).next().unwrap_or_default();
    matches!(name, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" | b"urn:mpeg:hevc:2015:auxid:1")
}

/// The properties of an item that are used.
#[derive(Debug, Default)]
pub struct Description<'b> {
    /// `ispe` (§6.5.3), in pixels.
    pub width: u32,
    pub height: u32,
    /// `av1C`
    pub config: Option<Av1Config<'b>>,
    /// `colr` of type `nclx`
    pub nclx: Option<Nclx>,
    /// `colr` of type `prof` or `rICC`
    pub icc: Option<&'b [u8]>,
    /// `clap`
    pub crop: Option<Crop>,
    /// `irot` and `imir`, without rotations by 0.
    pub orientation: Vec<Orient>,
    /// `lsel`: the layer to show, if it is not all of them.
    pub layer: Option<u16>,
}

/// `av1C` (AV1-ISOBMFF §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Av1Config<'b> {
    /// seq_profile
    pub profile: u8,
    /// Bits per sample.
    pub depth: u8,
    /// Subsampling of the chroma planes.
    pub chroma: Chroma,
    /// configOBUs
    pub obus: &'b [u8],
}

/// Reads the properties of an item.
pub fn describe<'b>(item: &Item<'b>, all: &[Property<'b>]) -> Result<Description<'b>, Error> {
    let mut description = Description::default();
    let mut size = None;
    let mut clap = None;
    for property in properties_of(item, all) {
        let (is_essential, property) = property?;
        let result = match &property.name {
            b"ispe" => spatial_extents(property).and_then(|read| set_once(&mut size, read, "ispe")),
            b"lsel" => layer(property).and_then(|read| match read {
                ALL_LAYERS => Ok(()),
                _ => set_once(&mut description.layer, read, "lsel"),
            }),
            // Other operating points leave layers out.
            b"a1op" => operating_point(property),
            b"pixi" | b"auxC" | b"pasp" | b"clli" | b"mdcv" | b"cclv" | b"amve" | b"a1lx" => Ok(()),
            _ => match description.add(property, &mut clap) {
                Ok(false) if is_essential => {
                    let name = quoted(property.name);
                    let sentence = format!("its essential property {name} is not supported");
                    Err(Error::unsupported(sentence))
                }
                result => result.map(|_| ()),
            },
        };
        result.map_err(|error| error.in_item(item.id))?;
    }
    let size = size.ok_or_else(|| Error::corrupt("it has no `ispe`").in_item(item.id))?;
    description.complete(size, clap).map_err(|error| error.in_item(item.id))
}

/// Reads the boxes of a sample entry (ISO/IEC 14496-12 §12.1.3.2), whose fields have this size. libavif writes the
/// transformations of an image sequence here, and so do browsers read them; the matrix of its track is the identity.
pub fn describe_samples<'b>(boxes: Boxes<'b>, size: (u32, u32)) -> Result<Description<'b>, Error> {
    let mut description = Description::default();
    let mut clap = None;
    for property in boxes {
        description.add(property?, &mut clap)?;
    }
    description.complete(size, clap)
}

impl<'b> Description<'b> {
    /// Reads a property that items and sample entries have. `false` if it is none.
    fn add(
        &mut self,
        property: Property<'b>,
        clap: &mut Option<Property<'b>>,
    ) -> Result<bool, Error> {
        match &property.name {
            b"av1C" => set_once(&mut self.config, av1_config(property)?, "av1C")?,
            b"colr" => colour(property, self)?,
            b"clap" if self.orientation.is_empty() => set_once(clap, property, "clap")?,
            // MIAF §7.3.6.7: crop, rotate, mirror. Another order gives another image.
            b"clap" => return Err(Error::unsupported("`clap` follows `irot` or `imir`")),
            b"irot" | b"imir" => orient(property, &mut self.orientation)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(
        mut self,
        (width, height): (u32, u32),
        clap: Option<Property<'b>>,
    ) -> Result<Description<'b>, Error> {
        (self.width, self.height) = (width, height);
        if let Some(clap) = clap {
            self.crop = clean_aperture(clap, width, height)?;
        }
        Ok(self)
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::corrupt(format!("it has two `{name}` properties"))),
    }
}

fn spatial_extents(mut ispe: Property) -> Result<(u32, u32), Error> {
    ispe.version_and_flags(0)?;
    let width = ispe.u32()?;
    let height = ispe.u32()?;
    check_size("ispe", width, height)?;
    Ok((width, height))
}

/// Refuses a size that AV1 can't have.
pub fn check_size(name: &str, width: u32, height: u32) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::corrupt(format!("`{name}` says {width} x {height} pixels")));
    }
    if width.max(height) > MAX_SIDE {
        let sentence =
            format!("`{name}` says {width} x {height} pixels; the longest side is {MAX_SIDE}");
        return Err(Error::corrupt(sentence));
    }
    Ok(())
}

/// `av1C`
fn av1_config<'b>(mut av1c: Property<'b>) -> Result<Av1Config<'b>, Error> {
    let [marker, profile, format, _] = [av1c.u8()?, av1c.u8()?, av1c.u8()?, av1c.u8()?];
    if marker != 0x81 {
        return Err(Error::unsupported("`av1C` has an unknown version"));
    }
    let has = |bit: u8| format >> bit & 1 == 1;
    let depth = match (has(6), has(5)) {
        (true, true) => 12,
        (true, false) => 10,
        (false, _) => 8,
    };
    let chroma = match (has(4), has(3), has(2)) {
        // Without chroma planes their subsampling does not matter.
        (true, ..) => Chroma::Monochrome,
        (_, true, true) => Chroma::Yuv420,
        (_, true, false) => Chroma::Yuv422,
        (_, false, false) => Chroma::Yuv444,
        (_, false, true) => {
            return Err(Error::corrupt("`av1C` says 4:4:0, which AV1 does not have"));
        }
    };
    Ok(Av1Config { profile: profile >> 5, depth, chroma, obus: av1c.rest() })
}

/// `colr` (ISO/IEC 14496-12 §12.1.5). MIAF §7.3.6.4 allows one of each kind.
fn colour<'b>(mut colr: Property<'b>, description: &mut Description<'b>) -> Result<(), Error> {
    match &colr.name()? {
        b"nclx" => {
            let [primaries, transfer, matrix] = [colr.u16()?, colr.u16()?, colr.u16()?];
            let is_full_range = colr.u8()? & 0x80 != 0;
            set_once(
                &mut description.nclx,
                Nclx { primaries, transfer, matrix, is_full_range },
                "colr",
            )
        }
        b"prof" | b"rICC" => set_once(&mut description.icc, colr.rest(), "colr"),
        _ => Ok(()),
    }
}

/// `irot` and `imir` (ISO/IEC 23008-12 §6.5.10, §6.5.12)
fn orient(mut property: Property, orientation: &mut Vec<Orient>) -> Result<(), Error> {
    let value = property.u8()?;
    let orient = match (&property.name, value & 3) {
        (b"irot", 0) => return Ok(()),
        (b"irot", quarters) => Orient::Rotate(quarters),
        (_, value) if value & 1 == 1 => Orient::MirrorHorizontally,
        _ => Orient::MirrorVertically,
    };
    if orientation.len() == MAX_ORIENTATIONS {
        return Err(Error::unsupported("it has too many `irot` and `imir` properties"));
    }
    orientation.push(orient);
    Ok(())
}

/// `lsel` (§6.5.11) of an image that consists of all layers (AVIF §2.3.2.1).
const ALL_LAYERS: u16 = 0xffff;

fn layer(mut lsel: Property) -> Result<u16, Error> {
    lsel.u16()
}

/// `a1op` (AVIF §2.3.2.2)
fn operating_point(mut a1op: Property) -> Result<(), Error> {
    match a1op.u8()? {
        0 => Ok(()),
        point => Err(Error::unsupported(format!(
            "`a1op` selects operating point {point}; only 0 is supported"
        ))),
    }
}

/// `clap` (ISO/IEC 14496-12 §12.1.4): the size of a window, and the distance of its centre from that of the image, as
/// fractions.
///
/// A window that is not aligned to pixels or not inside the image is ignored, as Chromium, Android and Pillow do with
/// libavif's AVIF_STRICT_CLAP_VALID switched off. Unlike in Chromium, a window may start anywhere: showing parts that
/// the file crops would be worse.
fn clean_aperture(mut clap: Property, width: u32, height: u32) -> Result<Option<Crop>, Error> {
    // Offsets are signed, and valid sizes fit a signed number (§12.1.4.3).
    let mut number = || clap.u32().map(|number| i64::from(number.cast_signed()));
    let mut fraction = || Ok::<_, Error>((number()?, number()?));
    let clap_width = fraction()?;
    let clap_height = fraction()?;
    let horizontal_offset = fraction()?;
    let vertical_offset = fraction()?;
    let columns = window(clap_width, horizontal_offset, width.into());
    let rows = window(clap_height, vertical_offset, height.into());
    Ok(columns.zip(rows).map(|((left, width), (top, height))| Crop { left, top, width, height }))
}

/// Start and length of a window along a side shorter than 2³².
fn window(
    (length, length_unit): (i64, i64),
    (offset, offset_unit): (i64, i64),
    side: i64,
) -> Option<(u32, u32)> {
    let whole = |number: i64, unit: i64| (unit > 0 && number % unit == 0).then(|| number / unit);
    let length = whole(length, length_unit).filter(|length| (1..=side).contains(length))?;
    // offset + (side - length) / 2, in halves of the offset's unit: no more than 2³² + 2³¹ · 2³².
    let start = whole(2 * offset + (side - length) * offset_unit, offset_unit.checked_mul(2)?)?;
    (0..=side - length).contains(&start).then_some(())?;
    Some((u32::try_from(start).ok()?, u32::try_from(length).ok()?))
}
