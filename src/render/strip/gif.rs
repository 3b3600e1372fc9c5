//! GIF (89a specification): comments and applications' data are left out, except how often it loops.

use super::reader::Reader;

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;
const GRAPHIC_CONTROL: u8 = 0xf9;
const COMMENT: u8 = 0xfe;
const APPLICATION: u8 = 0xff;

/// The picture without metadata.
pub fn stripped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes);
    if !matches!(reader.take(6)?, b"GIF87a" | b"GIF89a") {
        return None;
    }
    let [.., flags, _background, _aspect]: [u8; 7] = reader.array()?;
    reader.take(table_length(flags))?;
    let mut out = Vec::with_capacity(bytes.len());
    copy(&mut out, bytes, reader);
    let mut images = 0;
    loop {
        let block = reader;
        match reader.byte()? {
            EXTENSION => {
                let label = reader.byte()?;
                let first = Reader(reader.0);
                skip_blocks(&mut reader)?;
                let keep = match label {
                    GRAPHIC_CONTROL => true,
                    COMMENT => false,
                    APPLICATION => loops(first),
                    // Plain text is drawn by nobody, but it ends a graphic control.
                    _ => return None,
                };
                if keep {
                    copy(&mut out, block.0, reader);
                }
            }
            IMAGE => {
                let [.., flags]: [u8; 9] = reader.array()?;
                reader.take(table_length(flags))?;
                let _code_size = reader.byte()?;
                skip_blocks(&mut reader)?;
                copy(&mut out, block.0, reader);
                images += 1;
            }
            TRAILER => {
                out.push(TRAILER);
                return (images > 0).then_some(out);
            }
            _ => return None,
        }
    }
}

/// The bytes of a colour table by the flags of its descriptor.
fn table_length(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Data sub-blocks, up to and with their terminator.
fn skip_blocks(reader: &mut Reader) -> Option<()> {
    loop {
        match reader.byte()? {
            0 => return Some(()),
            length => reader.take(usize::from(length))?,
        };
    }
}

/// Whether this application block says how often the animation loops.
fn loops(mut block: Reader) -> bool {
    block.byte() == Some(11) && matches!(block.take(11), Some(b"NETSCAPE2.0" | b"ANIMEXTS1.0"))
}

/// Appends what lies between the start of `from` and where `rest` begins; both end at the same place.
fn copy(out: &mut Vec<u8>, from: &[u8], rest: Reader) {
    let length = from.len().saturating_sub(rest.0.len());
    out.extend_from_slice(from.get(..length).unwrap_or_default());
}
