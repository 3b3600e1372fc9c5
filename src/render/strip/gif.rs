//! GIF (89a specification): comments and applications' data are left out, except how often it loops.

use super::kept::Kept;
use crate::render::codec::cursor::Cursor;
use crate::render::codec::gif::{self, EXTENSION, GRAPHIC_CONTROL, IMAGE, TRAILER, table_length};

const COMMENT: u8 = 0xfe;
const APPLICATION: u8 = 0xff;

/// The image without metadata.
pub fn stripped(bytes: &[u8], mut out: Kept) -> Option<Vec<u8>> {
    let mut reader = Cursor::new(bytes);
    if !matches!(reader.take(6)?, b"GIF87a" | b"GIF89a") {
        return None;
    }
    let [.., flags, _background, _aspect]: [u8; 7] = reader.array()?;
    reader.take(table_length(flags))?;
    copy(&mut out, bytes, reader)?;
    let mut images = 0;
    loop {
        let block = reader;
        match reader.u8()? {
            EXTENSION => {
                let label = reader.u8()?;
                let start = reader.rest();
                skip_blocks(&mut reader)?;
                let blocks = start.get(..start.len().checked_sub(reader.rest().len())?)?;
                let keep = match label {
                    // One block (§23).
                    GRAPHIC_CONTROL => matches!(blocks, [4, _, _, _, _, 0]).then_some(true),
                    COMMENT => Some(false),
                    APPLICATION => loops(blocks),
                    // Plain text is drawn by nobody, but it ends a graphic control.
                    _ => None,
                }?;
                if keep {
                    copy(&mut out, block.rest(), reader)?;
                }
            }
            IMAGE => {
                let [.., flags]: [u8; 9] = reader.array()?;
                reader.take(table_length(flags))?;
                let _code_size = reader.u8()?;
                skip_blocks(&mut reader)?;
                copy(&mut out, block.rest(), reader)?;
                images += 1;
            }
            TRAILER => {
                out.add(&[TRAILER])?;
                return (images > 0).then(|| out.into_bytes());
            }
            _ => return None,
        }
    }
}

/// Passes over data sub-blocks; `None` for those without an end.
fn skip_blocks(reader: &mut Cursor) -> Option<()> {
    let (_, is_ended) = gif::skip_blocks(reader);
    is_ended.then_some(())
}

/// Whether an application extension says how often the animation loops, and nothing else. `None` for one that may say
/// more beside it.
fn loops(blocks: &[u8]) -> Option<bool> {
    match blocks
        .strip_prefix(b"\x0bNETSCAPE2.0")
        .or_else(|| blocks.strip_prefix(b"\x0bANIMEXTS1.0"))
    {
        None => Some(false),
        Some(data) => matches!(data, [3, 1, _, _, 0]).then_some(true),
    }
}

/// Appends what lies between the start of `from` and where `rest` begins; both end at the same place.
fn copy(out: &mut Kept, from: &[u8], rest: Cursor) -> Option<()> {
    out.add(from.get(..from.len().checked_sub(rest.rest().len())?)?)
}
