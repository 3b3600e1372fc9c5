//! Builds AVIF files item by item.

use super::boxed;
use crate::render::codec::avif::{Avif, parse};

/// A file of `tests/data`.
pub fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The colour streams of a file of `tests/data`.
pub fn streams(name: &str) -> Vec<Vec<u8>> {
    parse(&data(name)).unwrap().colour.tiles.into_iter().map(Vec::from).collect()
}

/// The alpha streams of a file of `tests/data`.
pub fn masks(name: &str) -> Vec<Vec<u8>> {
    parse(&data(name)).unwrap().alpha.unwrap().tiles.into_iter().map(Vec::from).collect()
}

pub fn full(kind: &[u8; 4], version: u8, payload: &[u8]) -> Vec<u8> {
    boxed(kind, &[&[version, 0, 0, 0], payload].concat())
}

pub fn ispe(width: u32, height: u32) -> Vec<u8> {
    full(b"ispe", 0, &[width.to_be_bytes(), height.to_be_bytes()].concat())
}

/// `av1C` of 8 bits: 4:2:0, 4:4:4 and 4:0:0.
pub fn av1c_420() -> Vec<u8> {
    boxed(b"av1C", &[0x81, 0, 0x0c, 0])
}

pub fn av1c_444() -> Vec<u8> {
    boxed(b"av1C", &[0x81, 0x20, 0, 0])
}

pub fn av1c_400() -> Vec<u8> {
    boxed(b"av1C", &[0x81, 0, 0x1c, 0])
}

pub fn alpha_type() -> Vec<u8> {
    full(b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
}

pub fn nclx(primaries: u8, transfer: u8, matrix: u8) -> Vec<u8> {
    boxed(b"colr", &[b'n', b'c', b'l', b'x', 0, primaries, 0, transfer, 0, matrix, 0x80])
}

pub fn clap(numbers: [i32; 8]) -> Vec<u8> {
    boxed(b"clap", &numbers.map(i32::to_be_bytes).concat())
}

/// An item with its data in `idat`.
#[derive(Clone)]
pub struct Item {
    pub id: u16,
    pub kind: [u8; 4],
    pub data: Option<Vec<u8>>,
    pub protection: u16,
    /// Index in `ipco`, and whether the property is essential.
    pub properties: Vec<(u8, bool)>,
}

/// A file whose items are numbered from 1, with the first as the primary item.
#[derive(Clone)]
pub struct File {
    pub primary: u16,
    pub items: Vec<Item>,
    pub properties: Vec<Vec<u8>>,
    pub references: Vec<Vec<u8>>,
    /// Boxes of `meta` that replace the generated ones.
    pub replaced: Vec<Vec<u8>>,
}

impl File {
    pub fn new() -> File {
        File { primary: 1, items: vec![], properties: vec![], references: vec![], replaced: vec![] }
    }

    /// An image of 64 x 48 pixels in 4:4:4.
    pub fn single() -> File {
        let mut file = File::new();
        let [stream] = &streams("quarters.avif")[..] else { panic!() };
        file.item(b"av01", stream, &[ispe(64, 48), av1c_444()]);
        file
    }

    /// A grid of 2 x 2 tiles of 64 x 64 pixels in 4:2:0.
    pub fn grid() -> File {
        File::grid_of(2, 2, (128, 128), &streams("grid.avif"), (64, 64), &av1c_420())
    }

    pub fn grid_of(
        rows: u8,
        columns: u8,
        size: (u16, u16),
        tiles: &[Vec<u8>],
        tile: (u32, u32),
        codec: &[u8],
    ) -> File {
        let mut file = File::new();
        file.item(b"grid", &grid(rows, columns, size), &[ispe(size.0.into(), size.1.into())]);
        let ids = tiles
            .iter()
            .map(|stream| file.item(b"av01", stream, &[ispe(tile.0, tile.1), codec.to_vec()]));
        let ids: Vec<u16> = ids.collect();
        file.refer(b"dimg", 1, &ids);
        file
    }

    /// A single item with alpha.
    pub fn with_alpha() -> File {
        let mut file = File::single();
        let [stream] = &masks("alpha.avif")[..] else { panic!() };
        let alpha = file.item(b"av01", stream, &[ispe(64, 48), av1c_400(), alpha_type()]);
        file.refer(b"auxl", alpha, &[1]);
        file
    }

    /// A grid whose tiles have alpha.
    pub fn grid_with_alpha_of_tiles() -> File {
        let mut file = File::grid();
        for (number, mask) in masks("grid-alpha.avif").iter().enumerate() {
            let alpha = file.item(b"av01", mask, &[ispe(64, 64), av1c_400(), alpha_type()]);
            file.refer(b"auxl", alpha, &[number as u16 + 2]);
        }
        file
    }

    pub fn item(&mut self, kind: &[u8; 4], data: &[u8], properties: &[Vec<u8>]) -> u16 {
        let id = self.items.len() as u16 + 1;
        let data = Some(data.to_vec());
        self.items.push(Item { id, kind: *kind, data, protection: 0, properties: vec![] });
        properties.iter().for_each(|property| self.describe(id, property, false));
        id
    }

    /// Adds a property to an item.
    pub fn describe(&mut self, id: u16, property: &[u8], is_essential: bool) {
        let known = self.properties.iter().position(|other| other == property);
        let index = known.unwrap_or_else(|| {
            self.properties.push(property.to_vec());
            self.properties.len() - 1
        });
        self.items[usize::from(id) - 1].properties.push((index as u8 + 1, is_essential));
    }

    /// Adds a property to the first item.
    pub fn with_property(mut self, property: &[u8], is_essential: bool) -> File {
        self.describe(1, property, is_essential);
        self
    }

    pub fn refer(&mut self, kind: &[u8; 4], from: u16, to: &[u16]) {
        let numbers = [&[from, to.len() as u16], to].concat();
        self.references.push(boxed(kind, &be(&numbers)));
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut infe, mut iloc, mut ipma, mut idat) = (vec![], vec![], vec![], vec![]);
        let mut located = 0;
        for item in &self.items {
            let kind = [&item.kind[..], &[0]].concat();
            infe.extend(full(b"infe", 2, &[be(&[item.id, item.protection]), kind].concat()));
            ipma.extend([&be(&[item.id])[..], &[item.properties.len() as u8]].concat());
            ipma.extend(
                item.properties.iter().map(|(index, essential)| index | u8::from(*essential) << 7),
            );
            if let Some(data) = &item.data {
                located += 1;
                // Construction method 1.
                iloc.extend(be(&[item.id, 1, 0, 1]));
                iloc.extend((idat.len() as u32).to_be_bytes());
                iloc.extend((data.len() as u32).to_be_bytes());
                idat.extend_from_slice(data);
            }
        }
        let count = self.items.len() as u16;
        let associations = full(b"ipma", 0, &[&u32::from(count).to_be_bytes()[..], &ipma].concat());
        let properties = boxed(b"ipco", &self.properties.concat());
        let mut meta = vec![
            full(b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            full(b"pitm", 0, &be(&[self.primary])),
            full(b"iloc", 1, &[&be(&[0x4400, located])[..], &iloc].concat()),
            full(b"iinf", 0, &[be(&[count]), infe].concat()),
            full(b"iref", 0, &self.references.concat()),
            boxed(b"iprp", &[properties, associations].concat()),
            boxed(b"idat", &idat),
        ];
        for replacement in &self.replaced {
            match meta.iter_mut().find(|old| old[4..8] == replacement[4..8]) {
                Some(old) => *old = replacement.clone(),
                None => meta.push(replacement.clone()),
            }
        }
        [boxed(b"ftyp", b"avif\0\0\0\0avifmif1miaf"), full(b"meta", 0, &meta.concat())].concat()
    }

    /// The sentence of the parser's error.
    pub fn error(&self) -> String {
        match parse(&self.to_bytes()) {
            Ok(image) => panic!("{image:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Calls `check` with the parsed image.
    pub fn parsed(&self, check: impl FnOnce(&Avif)) {
        check(&parse(&self.to_bytes()).unwrap());
    }
}

pub fn grid(rows: u8, columns: u8, (width, height): (u16, u16)) -> Vec<u8> {
    [&[0, 0, rows - 1, columns - 1][..], &be(&[width, height])].concat()
}

pub fn be(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
