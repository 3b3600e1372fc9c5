//! EXIF blocks (CIPA DC-008 §4.5): regular ones for every orientation, and irregular ones.

/// The entry of the orientation.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub is_big_endian: bool,
    /// 3 is SHORT.
    pub kind: u16,
    pub count: u32,
    pub value: u32,
    /// Whether it is in the second directory, which describes the thumbnail.
    pub is_second: bool,
    /// Entries before it.
    pub before: u16,
}

impl Block {
    pub fn regular(orientation: u32) -> Block {
        Block {
            is_big_endian: true,
            kind: 3,
            count: 1,
            value: orientation,
            is_second: false,
            before: 1,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let short = |value: u16| {
            if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let long = |value: u32| {
            if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let value = match self.kind {
            3 => [short(self.value as u16), [0, 0]].concat(),
            1 => vec![self.value as u8, 0, 0, 0],
            _ => long(self.value).to_vec(),
        };
        let orientation =
            [&short(0x0112)[..], &short(self.kind), &long(self.count), &value].concat();
        // ImageWidth, which sorts before the orientation.
        let other = [&short(0x0100)[..], &short(3), &long(1), &short(24), &[0, 0]].concat();
        let directory = |entries: &[Vec<u8>], next: u32| {
            [short(entries.len() as u16).to_vec(), entries.concat(), long(next).to_vec()].concat()
        };
        let start = [if self.is_big_endian { *b"MM" } else { *b"II" }, short(42)].concat();
        let before = vec![other.clone(); usize::from(self.before)];
        let directories = if self.is_second {
            let first = directory(&[other], 8 + 2 + 12 + 4);
            [first, directory(&[orientation], 0)].concat()
        } else {
            directory(&[before, vec![orientation]].concat(), 0)
        };
        [start, long(8).to_vec(), directories].concat()
    }
}

/// Blocks with their names, and the orientation that Chromium shows for them in a JPEG.
pub fn irregular() -> Vec<(&'static str, Vec<u8>, u32)> {
    let six = Block::regular(6);
    let regular = six.bytes();
    vec![
        ("little-endian", Block { is_big_endian: false, ..six }.bytes(), 6),
        ("long", Block { kind: 4, ..six }.bytes(), 1),
        ("long-little-endian", Block { kind: 4, is_big_endian: false, ..six }.bytes(), 1),
        ("byte", Block { kind: 1, ..six }.bytes(), 1),
        ("signed", Block { kind: 8, ..six }.bytes(), 1),
        ("count-0", Block { count: 0, ..six }.bytes(), 1),
        ("count-2", Block { count: 2, ..six }.bytes(), 1),
        ("value-0", Block::regular(0).bytes(), 1),
        ("value-9", Block::regular(9).bytes(), 1),
        ("value-65535", Block::regular(65_535).bytes(), 1),
        ("second-directory", Block { is_second: true, ..six }.bytes(), 1),
        ("first-entry", Block { before: 0, ..six }.bytes(), 6),
        ("after-100-entries", Block { before: 100, ..six }.bytes(), 6),
        ("twice", twice(), 6),
        ("prefix", [&b"Exif\0\0"[..], &regular].concat(), 6),
        ("prefix-ff", [&b"Exif\0\xff"[..], &regular].concat(), 1),
        ("without-next", regular[..regular.len() - 4].to_vec(), 6),
        ("cut-in-value", regular[..regular.len() - 8].to_vec(), 1),
        ("magic-43", [&regular[..3], &[43], &regular[4..]].concat(), 1),
        ("directory-at-10", [&regular[..7], &[10, 0, 0], &regular[8..]].concat(), 6),
        ("mixed-mark", [&b"MI"[..], &regular[2..]].concat(), 1),
        ("more-entries-than-there-are", [&regular[..9], &[9], &regular[10..]].concat(), 6),
    ]
}

/// Orientation 6, then 3.
fn twice() -> Vec<u8> {
    let six = Block { before: 0, ..Block::regular(6) }.bytes();
    let three = Block { before: 0, ..Block::regular(3) }.bytes();
    [&six[..9], &[2], &six[10..22], &three[10..]].concat()
}
