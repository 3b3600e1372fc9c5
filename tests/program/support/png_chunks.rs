//! Adds chunks to a PNG (W3C PNG §5.3).

/// The PNG with another chunk after `IHDR`.
pub fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    with_chunks(png, &[chunk(kind, data)])
}

/// The PNG with these bytes after `IHDR`.
pub fn with_chunks(png: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    // Signature, and IHDR with its length, type and checksum.
    let (head, rest) = png.split_at(8 + 25);
    [head, &chunks.concat(), rest].concat()
}

/// A chunk with a wrong checksum.
pub fn damaged(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = chunk(kind, data);
    *chunk.last_mut().unwrap() ^= 1;
    chunk
}

/// The PNG with a wrong checksum of the first chunk of this kind.
pub fn with_damaged(png: &[u8], kind: &[u8; 4]) -> Vec<u8> {
    let at = png.windows(4).position(|window| window == kind).expect("the chunk");
    let length = u32::from_be_bytes(png[at - 4..at].try_into().unwrap()) as usize;
    let mut damaged = png.to_vec();
    damaged[at + 4 + length] ^= 1;
    damaged
}

/// A chunk with its length, type and checksum.
pub fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    let covered = [kind, data].concat();
    [&length[..], &covered, &crc(&covered).to_be_bytes()].concat()
}

/// The data of an `iCCP` chunk: a name, and the compressed profile.
pub fn profile(profile: &[u8]) -> Vec<u8> {
    [&b"p\0\0"[..], &zlib(profile)].concat()
}

/// Bytes in stored deflate blocks (RFC 1950, RFC 1951).
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut data = b"\x78\x01".to_vec();
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        data.push(u8::from(blocks.peek().is_none()));
        data.extend_from_slice(&length.to_le_bytes());
        data.extend_from_slice(&(!length).to_le_bytes());
        data.extend_from_slice(block);
    }
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
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
