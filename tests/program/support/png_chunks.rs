//! Adds chunks to a PNG (W3C PNG §5.3).

/// The PNG with another chunk after `IHDR`.
pub fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    // Signature, and IHDR with its length, type and checksum.
    let (head, rest) = png.split_at(8 + 25);
    let mut chunk = kind.to_vec();
    chunk.extend_from_slice(data);
    let length = (data.len() as u32).to_be_bytes();
    [head, &length, &chunk, &crc(&chunk).to_be_bytes(), rest].concat()
}

/// The data of an `iCCP` chunk: a name, and the profile in stored deflate blocks (RFC 1950, RFC 1951).
pub fn profile(profile: &[u8]) -> Vec<u8> {
    let mut data = b"p\0\0\x78\x01".to_vec();
    let length = profile.len() as u16;
    data.push(1);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&(!length).to_le_bytes());
    data.extend_from_slice(profile);
    let (a, b) = profile.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    data.extend_from_slice(&(b << 16 | a).to_be_bytes());
    data
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}
