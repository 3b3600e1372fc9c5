//! AVIF files (ISO/IEC 23008-12) of the streams in tests/data/browser, with other properties.

use crate::support::server::data;

/// An item with its properties as boxes.
#[derive(Clone, Debug)]
struct Item {
    id: u16,
    info: Vec<u8>,
    data: Vec<u8>,
    properties: Vec<(Vec<u8>, bool)>,
}

/// A file of images that are not grids or sequences.
#[derive(Clone, Debug)]
pub struct Avif {
    items: Vec<Item>,
    references: Vec<u8>,
}

pub fn boxed(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat()
}

fn full(kind: &[u8; 4], version: u8, data: &[u8]) -> Vec<u8> {
    boxed(kind, &[&[version, 0, 0, 0], data].concat())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The boxes in a box, with their headers.
fn boxes(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while bytes.len() >= 8 {
        let (this, rest) = bytes.split_at(u32_at(bytes, 0));
        found.push(this);
        bytes = rest;
    }
    found
}

/// The contents of the first box of a kind.
fn child<'b>(bytes: &'b [u8], kind: &[u8; 4]) -> Option<&'b [u8]> {
    boxes(bytes).into_iter().find(|this| &this[4..8] == kind).map(|this| &this[8..])
}

pub fn nclx(primaries: u8, transfer: u8, matrix: u8, is_full_range: bool) -> Vec<u8> {
    let range = u8::from(is_full_range) << 7;
    boxed(b"colr", &[b'n', b'c', b'l', b'x', 0, primaries, 0, transfer, 0, matrix, range])
}

pub fn profile(profile: &[u8]) -> Vec<u8> {
    boxed(b"colr", &[b"prof", profile].concat())
}

pub fn irot(quarters: u8) -> Vec<u8> {
    boxed(b"irot", &[quarters])
}

pub fn imir(axis: u8) -> Vec<u8> {
    boxed(b"imir", &[axis])
}

impl Avif {
    /// Reads a file in the form in which avifenc writes it.
    pub fn of(name: &str) -> Avif {
        let file = data(&format!("browser/{name}.avif"));
        let meta = &child(&file, b"meta").unwrap()[4..];
        let iprp = child(meta, b"iprp").unwrap();
        let known = boxes(child(iprp, b"ipco").unwrap());
        let associations = child(iprp, b"ipma").unwrap();
        let locations = child(meta, b"iloc").unwrap();
        assert_eq!(locations[..6], [0, 0, 0, 0, 0x44, 0], "the version of iloc");
        let mut items = Vec::new();
        let mut at = 8;
        for (n, info) in boxes(&child(meta, b"iinf").unwrap()[6..]).into_iter().enumerate() {
            let location = &locations[8 + 14 * n..];
            let start = u32_at(location, 6);
            let data = file[start..start + u32_at(location, 10)].to_vec();
            let id = u16_at(associations, at);
            assert_eq!((u16_at(info, 12), u16_at(location, 0)), (id, id));
            let count = usize::from(associations[at + 2]);
            let indexes = &associations[at + 3..at + 3 + count];
            let property =
                |index: &u8| (known[usize::from(index & 0x7f) - 1].to_vec(), index & 0x80 != 0);
            let properties = indexes.iter().map(property).collect();
            items.push(Item { id, info: info.to_vec(), data, properties });
            at += 3 + count;
        }
        let references = child(meta, b"iref").map(|iref| iref[4..].to_vec()).unwrap_or_default();
        Avif { items, references }
    }

    /// Without the properties of a kind, in all items.
    pub fn without(mut self, kind: &[u8; 4]) -> Avif {
        for item in &mut self.items {
            item.properties.retain(|(property, _)| &property[4..8] != kind);
        }
        self
    }

    /// With another property of the image.
    pub fn with(mut self, property: Vec<u8>) -> Avif {
        self.items[0].properties.push((property, false));
        self
    }

    /// With a rotation or a mirror of the image and its alpha, which are essential.
    pub fn turned(mut self, property: &[u8]) -> Avif {
        for item in &mut self.items {
            item.properties.push((property.to_vec(), true));
        }
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let count = (self.items.len() as u16).to_be_bytes();
        let mut known: Vec<Vec<u8>> = Vec::new();
        let (mut infos, mut locations, mut associations) = (Vec::new(), Vec::new(), Vec::new());
        let mut payload = Vec::new();
        for item in &self.items {
            infos.extend_from_slice(&item.info);
            associations.extend(item.id.to_be_bytes());
            associations.push(item.properties.len() as u8);
            for (property, is_essential) in &item.properties {
                let index = known.iter().position(|other| other == property);
                let index = index.unwrap_or_else(|| {
                    known.push(property.clone());
                    known.len() - 1
                });
                associations.push((index as u8 + 1) | u8::from(*is_essential) << 7);
            }
            // Construction method 1: in `idat`.
            locations.extend([item.id, 1, 0, 1].map(u16::to_be_bytes).concat());
            locations.extend((payload.len() as u32).to_be_bytes());
            locations.extend((item.data.len() as u32).to_be_bytes());
            payload.extend_from_slice(&item.data);
        }
        let number = (self.items.len() as u32).to_be_bytes();
        let properties = [
            boxed(b"ipco", &known.concat()),
            full(b"ipma", 0, &[&number[..], &associations].concat()),
        ];
        let mut meta = vec![
            full(b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            full(b"pitm", 0, &self.items[0].id.to_be_bytes()),
            full(b"iloc", 1, &[&[0x44, 0], &count[..], &locations].concat()),
            full(b"iinf", 0, &[&count[..], &infos].concat()),
        ];
        if !self.references.is_empty() {
            meta.push(full(b"iref", 0, &self.references));
        }
        meta.push(boxed(b"iprp", &properties.concat()));
        meta.push(boxed(b"idat", &payload));
        let brands = boxed(b"ftyp", b"avif\0\0\0\0avifmif1miafMA1AMA1B");
        [brands, full(b"meta", 0, &meta.concat())].concat()
    }
}
