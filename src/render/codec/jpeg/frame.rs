//! Frame headers (T.81 B.2.2) and the geometry of their components.

use super::refusal::{Outcome, Refusal};

/// A component and its blocks.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    pub id: u8,
    /// Sampling factors: blocks in an MCU of all components. 1 for the only component, whose MCU is a block.
    pub h: usize,
    pub v: usize,
    /// The number of its quantisation table.
    pub quantiser: usize,
    /// Blocks that the image covers, as in a scan of this component alone.
    pub blocks_x: usize,
    pub blocks_y: usize,
    /// Samples per side that libjpeg makes of a block at scale 1/8: as many as its subsampling allows (jdmaster.c).
    pub side: usize,
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub is_progressive: bool,
    pub width: usize,
    pub height: usize,
    /// 1 to 4.
    pub components: Vec<Component>,
    pub max_h: usize,
    pub max_v: usize,
    /// MCUs of all components.
    pub mcus_x: usize,
    pub mcus_y: usize,
}

impl Frame {
    /// Reads the body of SOF0, SOF1 or SOF2.
    pub fn read(is_progressive: bool, body: &[u8]) -> Outcome<Frame> {
        let &[depth, height_1, height_0, width_1, width_0, count, ref rest @ ..] = body else {
            return Err(Refusal::Damaged("frame header"));
        };
        let width = usize::from(u16::from_be_bytes([width_1, width_0]));
        let height = usize::from(u16::from_be_bytes([height_1, height_0]));
        if depth != 8 || !(1..=4).contains(&count) {
            return Err(Refusal::Unsupported("samples"));
        }
        let (components, others) = rest.as_chunks::<3>();
        if width == 0 || height == 0 || components.len() != usize::from(count) || !others.is_empty()
        {
            return Err(Refusal::Damaged("frame header"));
        }
        let mut components =
            components.iter().map(Component::read).collect::<Outcome<Vec<Component>>>()?;
        for (at, component) in components.iter().enumerate() {
            if components.iter().skip(at + 1).any(|other| other.id == component.id) {
                return Err(Refusal::Damaged("component numbers"));
            }
        }
        if let [only] = components.as_mut_slice() {
            (only.h, only.v) = (1, 1);
        }
        let max_h = components.iter().map(|component| component.h).max().unwrap_or(1);
        let max_v = components.iter().map(|component| component.v).max().unwrap_or(1);
        for component in &mut components {
            component.blocks_x = (width * component.h).div_ceil(8 * max_h);
            component.blocks_y = (height * component.v).div_ceil(8 * max_v);
            while component.side < 8
                && max_h.is_multiple_of(component.h * component.side * 2)
                && max_v.is_multiple_of(component.v * component.side * 2)
            {
                component.side *= 2;
            }
        }
        Ok(Frame {
            is_progressive,
            width,
            height,
            components,
            max_h,
            max_v,
            mcus_x: width.div_ceil(8 * max_h),
            mcus_y: height.div_ceil(8 * max_v),
        })
    }

    /// Blocks of a component with those that fill the last MCUs, by row and column.
    pub fn padded_blocks(&self, component: &Component) -> (usize, usize) {
        (self.mcus_x * component.h, self.mcus_y * component.v)
    }
}

impl Component {
    fn read(raw: &[u8; 3]) -> Outcome<Component> {
        let [id, factors, quantiser] = *raw;
        let (h, v) = (usize::from(factors >> 4), usize::from(factors & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) || quantiser > 3 {
            return Err(Refusal::Damaged("frame header"));
        }
        let quantiser = usize::from(quantiser);
        Ok(Component { id, h, v, quantiser, blocks_x: 0, blocks_y: 0, side: 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: u16, height: u16, sampling: &[u8]) -> Outcome<Frame> {
        let [width, height] = [width, height].map(u16::to_be_bytes);
        let mut body = vec![8, height[0], height[1], width[0], width[1], sampling.len() as u8];
        sampling.iter().zip(1..).for_each(|(factors, id)| body.extend([id, *factors, 0]));
        Frame::read(false, &body)
    }

    #[test]
    fn chroma_that_is_halved_both_ways_has_two_samples_per_side() {
        for (sampling, sides, mcus) in [
            ([0x11, 0x11, 0x11], [1, 1, 1], (13, 10)),
            ([0x21, 0x11, 0x11], [1, 1, 1], (7, 10)),
            ([0x22, 0x11, 0x11], [1, 2, 2], (7, 5)),
            ([0x22, 0x21, 0x12], [1, 1, 1], (7, 5)),
            ([0x42, 0x11, 0x11], [1, 2, 2], (4, 5)),
            ([0x44, 0x11, 0x22], [1, 4, 2], (4, 3)),
        ] {
            let frame = frame(100, 80, &sampling).unwrap();
            let found: Vec<usize> = frame.components.iter().map(|c| c.side).collect();
            assert_eq!((found, (frame.mcus_x, frame.mcus_y)), (sides.to_vec(), mcus));
        }
        let gray = frame(100, 80, &[0x42]).unwrap();
        assert_eq!((gray.mcus_x, gray.mcus_y, gray.components[0].side), (13, 10, 1));
        let frame = frame(17, 9, &[0x22, 0x11, 0x11]).unwrap();
        let blocks: Vec<_> = frame.components.iter().map(|c| (c.blocks_x, c.blocks_y)).collect();
        assert_eq!(blocks, [(3, 2), (2, 1), (2, 1)]);
        assert_eq!(frame.padded_blocks(&frame.components[0]), (4, 2));
    }

    #[test]
    fn frame_headers_that_make_no_sense_are_refused() {
        assert!(frame(1, 1, &[0x11]).is_ok());
        for (width, height, sampling) in [
            (0, 1, &[0x11][..]),
            (1, 0, &[0x11]),
            (1, 1, &[]),
            (1, 1, &[0x10]),
            (1, 1, &[0x51]),
            (1, 1, &[0x11; 5]),
        ] {
            assert!(frame(width, height, sampling).is_err(), "{width} {height} {sampling:x?}");
        }
        assert!(Frame::read(false, &[8, 0, 1, 0, 1, 2, 1, 0x11, 0, 1, 0x11, 0]).is_err());
        assert!(Frame::read(false, &[12, 0, 1, 0, 1, 1, 1, 0x11, 0]).is_err());
    }
}
