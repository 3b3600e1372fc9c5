//! Parses a file into its image: the primary item, or the frames of an image sequence, with alpha, and the
//! transformations of both.

use super::boxes::{Fields, find_box};
use super::convert;
use super::error::Error;
use super::items::Item;
use super::meta::Meta;
use super::movie;
use super::reader::Reader;
use super::{Avif, Chroma, Nclx, Sequence};

/// Parses the container and checks everything that a decoder is given: sizes, formats, numbers of frames. Of an image
/// sequence this is the first frame; each other one is checked before it is decoded.
pub fn parse(file: &[u8]) -> Result<Avif<'_>, Error> {
    match find_sequence(file)? {
        Some(moov) => parse_sequence(file, &moov),
        None => parse_still(file),
    }
}

/// The tracks of a file that is an image sequence. As in browsers, the major brand decides where a file also has a still
/// image.
fn find_sequence(file: &[u8]) -> Result<Option<Fields<'_>>, Error> {
    if file.get(4..12) == Some(b"ftypavis") { find_box(file, *b"moov") } else { Ok(None) }
}

fn parse_still(file: &[u8]) -> Result<Avif<'_>, Error> {
    let meta = find_box(file, *b"meta")?;
    let meta = meta.ok_or_else(|| Error::corrupt("the file has no `meta` box"))?;
    let meta = Meta::read(file, meta)?;
    let mut reader = Reader::new(&meta, file.len());
    let primary = meta.item(meta.primary)?;
    let description = reader.describe(primary)?;
    let colour = reader.read_coded(primary, &description)?;
    let alpha = reader.read_alpha(primary, &description, &colour)?;
    check_matrix(description.nclx, colour.sequence).map_err(|error| error.in_item(primary.id))?;
    let mut avif = Avif {
        colour,
        is_premultiplied: alpha.as_ref().is_some_and(|alpha| alpha.is_premultiplied),
        alpha: alpha.map(|alpha| alpha.coded),
        crop: description.crop,
        orientation: description.orientation,
        nclx: description.nclx,
        icc: description.icc.filter(|icc| !icc.is_empty()),
        exif: None,
        xmp: None,
        metadata_bytes: 0,
        frames: None,
    };
    avif.read_metadata(&meta, &mut reader, primary)?;
    Ok(avif)
}

fn parse_sequence<'b>(file: &'b [u8], moov: &Fields<'b>) -> Result<Avif<'b>, Error> {
    let mut avif = movie::read(file, moov)?.into_avif(file);
    check_matrix(avif.nclx, avif.colour.sequence)?;
    match find_box(file, *b"meta")? {
        // The still image beside the sequence is not shown. What it says of itself is true of both.
        Some(meta) => {
            let meta = Meta::read(file, meta)?;
            let mut reader = Reader::new(&meta, file.len());
            avif.read_metadata(&meta, &mut reader, meta.item(meta.primary)?)?;
        }
        None => avif.metadata_bytes = avif.icc.map_or(0, |icc| icc.len() as u64),
    }
    Ok(avif)
}

impl<'b> Avif<'b> {
    /// Reads what describes an item.
    fn read_metadata(
        &mut self,
        meta: &Meta<'b>,
        reader: &mut Reader<'_, 'b>,
        described: &Item<'b>,
    ) -> Result<(), Error> {
        self.exif = reader.read_exif(described)?;
        self.xmp = reader.read_xmp(described);
        let metadata =
            meta.items.iter().filter(|item| matches!(&item.kind, b"Exif" | b"mime" | b"uri "));
        let stored = metadata.fold(0, |sum: u64, item| sum.saturating_add(meta.stored_bytes(item)));
        self.metadata_bytes = stored.saturating_add(self.icc.map_or(0, |icc| icc.len() as u64));
        Ok(())
    }
}

/// ITU-T H.273 §8.3: with the identity matrix, chroma planes are colours, which can't be subsampled.
fn check_matrix(nclx: Option<Nclx>, sequence: Sequence) -> Result<(), Error> {
    let nclx = nclx.unwrap_or(sequence.nclx);
    if nclx.matrix == 0 && matches!(sequence.chroma, Chroma::Yuv420 | Chroma::Yuv422) {
        return Err(Error::corrupt("its identity matrix needs chroma planes of full size"));
    }
    if !convert::is_supported(nclx, sequence.chroma) {
        return Err(Error::unsupported(format!(
            "its matrix coefficients {} are not supported",
            nclx.matrix
        )));
    }
    Ok(())
}
