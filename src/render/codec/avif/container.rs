//! Parses a file into its primary image, the alpha of that image, and the transformations of both.

use super::convert;
use super::error::Error;
use super::meta::Meta;
use super::properties::Description;
use super::reader::Reader;
use super::{Avif, Chroma, Sequence};

/// Parses the container and checks everything that a decoder is given: sizes, formats, numbers of frames.
pub fn parse(file: &[u8]) -> Result<Avif<'_>, Error> {
    let meta = Meta::read(file)?;
    let mut reader = Reader::new(&meta, file.len());
    let primary = meta.item(meta.primary)?;
    let description = reader.describe(primary)?;
    let colour = reader.read_coded(primary, &description)?;
    let alpha = reader.read_alpha(primary, &description, &colour)?;
    check_matrix(&description, colour.sequence).map_err(|error| error.in_item(primary.id))?;
    let exif = reader.read_exif(primary)?;
    let xmp = reader.read_xmp(primary);
    let icc = description.icc.filter(|icc| !icc.is_empty());
    let metadata =
        meta.items.iter().filter(|item| matches!(&item.kind, b"Exif" | b"mime" | b"uri "));
    let stored = metadata.fold(0, |sum: u64, item| sum.saturating_add(meta.stored_bytes(item)));
    Ok(Avif {
        colour,
        is_premultiplied: alpha.as_ref().is_some_and(|alpha| alpha.is_premultiplied),
        alpha: alpha.map(|alpha| alpha.coded),
        crop: description.crop,
        orientation: description.orientation,
        nclx: description.nclx,
        icc,
        exif,
        xmp,
        metadata_bytes: stored.saturating_add(icc.map_or(0, |icc| icc.len() as u64)),
    })
}

/// ITU-T H.273 §8.3: with the identity matrix, chroma planes are colours, which can't be subsampled.
fn check_matrix(description: &Description, sequence: Sequence) -> Result<(), Error> {
    let nclx = description.nclx.unwrap_or(sequence.nclx);
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
