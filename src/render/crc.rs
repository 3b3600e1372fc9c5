//! The check of a PNG's chunks: CRC-32 (W3C PNG annex D).

const TABLE: [u32; 256] = table();

/// The check of a chunk, whose type and data are given as the parts of one text.
pub fn crc(parts: &[&[u8]]) -> u32 {
    !parts.iter().copied().flatten().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        let mut crc = number as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[number] = crc;
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_is_that_of_png() {
        // The end chunk of every PNG.
        assert_eq!(crc(&[b"IEND", b""]), 0xae42_6082);
        assert_eq!(crc(&[b"IE", b"ND"]), 0xae42_6082);
    }
}
