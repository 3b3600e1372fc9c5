//! Sample tables in every form, and damaged ones.

use super::movie::{Movie, START, decode_all, numbers};
use crate::render::codec::avif::{Error, parse};

fn corrupt(sentence: &str) -> Error {
    Error::corrupt(sentence)
}

#[test]
fn avif_sequence_may_have_any_form_of_its_tables() {
    let whole = Movie::new();
    let expected = decode_all(&parse(&whole.to_bytes()).unwrap());
    let sizes: Vec<u32> = whole.samples.iter().map(|sample| sample.len() as u32).collect();
    let starts = [START, START + sizes[0], START + sizes[0] + sizes[1]];
    let same = |movie: &Movie, what: &str| {
        movie.parsed(|avif, frames| {
            assert_eq!((&frames.delays[..], frames.first_missing()), (&[40, 50, 60][..], None));
            assert!(decode_all(avif) == expected, "{what}");
        });
    };
    same(&whole, "one chunk");
    let mut movie = whole.clone();
    movie.set(b"stsc", 0, &numbers(&[1, 1, 1, 1])).set(
        b"stco",
        0,
        &numbers(&[&[3], &starts[..]].concat()),
    );
    same(&movie, "three chunks");
    movie.set(b"stsc", 0, &numbers(&[2, 1, 2, 1, 2, 1, 1])).set(
        b"stco",
        0,
        &numbers(&[2, starts[0], starts[2]]),
    );
    same(&movie, "two runs");
    movie.remove(b"stco").set(b"co64", 0, &numbers(&[2, 0, starts[0], 0, starts[2]]));
    same(&movie, "offsets of 64 bits");
    let bytes: Vec<u8> = sizes.iter().map(|size| *size as u8).collect();
    movie.remove(b"stsz").set(b"stz2", 0, &[&numbers(&[8, 3])[..], &bytes].concat());
    same(&movie, "sizes of 8 bits");
    let words: Vec<u8> = sizes.iter().flat_map(|size| (*size as u16).to_be_bytes()).collect();
    movie.set(b"stz2", 0, &[&numbers(&[16, 3])[..], &words].concat());
    same(&movie, "sizes of 16 bits");
    // Padding (OBU type 15) makes them equal.
    let mut movie = whole.clone();
    let longest = *sizes.iter().max().unwrap() as usize + 2;
    for sample in &mut movie.samples {
        let rest = longest - sample.len() - 2;
        sample.extend([&[15 << 3 | 2, rest as u8][..], &vec![0x80; rest]].concat());
    }
    movie.set(b"stsz", 0, &numbers(&[longest as u32, 3]));
    same(&movie, "one size");
    // In the timescale 7, so that 280, 350 and 420 units are as long; a time is rounded to nearest.
    let mut movie = whole.clone();
    movie.set(b"mdhd", 1, &[&[0; 16][..], &numbers(&[3])].concat()).set(
        b"stts",
        0,
        &numbers(&[1, 3, 1]),
    );
    movie.parsed(|_, frames| assert_eq!(frames.delays, [333, 334, 333]));
    movie.set(b"stts", 0, &numbers(&[2, 1, u32::MAX, 2, 0]));
    movie.parsed(|_, frames| assert_eq!(frames.delays, [u32::MAX, 0, 0]));
    let sentence = corrupt("box `stz2` ends early");
    movie.remove(b"stsz").set(b"stz2", 0, &[&numbers(&[4, 3])[..], &[0x12]].concat());
    assert_eq!(movie.error(), sentence.in_track(1));
    // Frames of 1, 2 and 3 bytes, which are no frames.
    movie.set(b"stz2", 0, &[&numbers(&[4, 3])[..], &[0x12, 0x30]].concat());
    assert_eq!(movie.error(), corrupt("track 1: an OBU is longer than its AV1 stream"));
}

#[test]
fn avif_sequence_with_damaged_tables_is_refused() {
    let in_track = |change: &dyn Fn(&mut Movie), sentence: &str| {
        let mut movie = Movie::new();
        change(&mut movie);
        let error = movie.error();
        assert_eq!(error, corrupt(sentence).in_track(1), "{error}");
    };
    let tables: [(&[u8; 4], &[u32], &str); 23] = [
        (b"stsz", &[0, 0], "it has no frame"),
        (b"stsz", &[5, 0], "it has no frame"),
        (b"stsz", &[0, 3, 1, 2], "box `stsz` ends early"),
        (b"stsz", &[0, u32::MAX], "box `stsz` ends early"),
        (b"stsz", &[0, 2, 1, 1], "it has 2 frames and its chunks hold more"),
        (b"stsz", &[0, 4, 1, 1, 1, 1], "it has 4 frames and its chunks hold fewer"),
        (b"stsz", &[0, 3, 1, 0, 1], "frame 1 is empty"),
        (b"stco", &[0], "it has 3 frames and its chunks hold fewer"),
        (b"stco", &[2, START], "box `stco` ends early"),
        (b"stco", &[u32::MAX, START], "box `stco` ends early"),
        (b"stco", &[2, START, START], "it has 3 frames and its chunks hold more"),
        (b"stco", &[1, u32::MAX], "its first frame extends past the end of the file"),
        (b"stsc", &[0], "chunk 1 has no frame"),
        (b"stsc", &[1, 2, 3, 1], "chunk 1 has no frame"),
        (b"stsc", &[1, 1, 0, 1], "chunk 1 has no frame"),
        (b"stsc", &[1, 1, u32::MAX, 1], "it has 3 frames and its chunks hold more"),
        (b"stsc", &[1, 1, 3, 2], "`stsc` names the sample entry 2"),
        (b"stsc", &[2, 1, 3, 1, 1, 3, 1], "`stsc` is not in the order of the chunks"),
        (b"stsc", &[u32::MAX, 1, 3, 1], "box `stsc` ends early"),
        (b"stts", &[1, 2, 40], "`stts` does not have the times of 3 frames"),
        (b"stts", &[2, 3, 40, 1, 1], "`stts` does not have the times of 3 frames"),
        (b"stts", &[1, u32::MAX, 40], "`stts` does not have the times of 3 frames"),
        (b"stts", &[2, 3, 40], "box `stts` ends early"),
    ];
    for (name, table, sentence) in tables {
        in_track(&|movie| _ = movie.set(name, 0, &numbers(table)), sentence);
    }
    for (name, sentence) in [
        (b"stsd", "`stbl` has no `stsd` box"),
        (b"stts", "`stbl` has no `stts` box"),
        (b"stsc", "`stbl` has no `stsc` box"),
        (b"stsz", "`stbl` has no `stsz` box"),
        (b"stco", "`stbl` has no `stco` box"),
    ] {
        in_track(&|movie| _ = movie.remove(name), sentence);
    }
    in_track(
        &|movie| _ = movie.set(b"stz2", 0, &numbers(&[8, 0])),
        "`stbl` has both `stsz` and `stz2`",
    );
    in_track(
        &|movie| _ = movie.set(b"co64", 0, &numbers(&[0])),
        "`stbl` has both `stco` and `co64`",
    );
    in_track(
        &|movie| _ = movie.remove(b"stsz").set(b"stz2", 0, &numbers(&[5, 0])),
        "`stz2` has sizes of 5 bits",
    );
    in_track(
        &|movie| _ = movie.set(b"mdhd", 0, &numbers(&[0, 0, 0])),
        "`mdhd` has the timescale 0",
    );
    for (name, sentence) in [
        (b"tkhd", "`trak` has no `tkhd` box"),
        (b"mdhd", "`mdia` has no `mdhd` box"),
        (b"hdlr", "`mdia` has no `hdlr` box"),
    ] {
        assert_eq!(Movie::new().remove(name).error(), corrupt(sentence));
    }
    let mut movie = Movie::new();
    movie.set(b"tkhd", 0, &numbers(&[0, 0, 0, 0, 150]));
    assert_eq!(movie.error(), corrupt("a track has the number 0"));
    let mut movie = Movie::new();
    movie.set(b"hdlr", 0, &[&[0; 4][..], b"vide", &[0; 13]].concat());
    assert_eq!(movie.error(), corrupt("`moov` has no track of pictures"));
    // Nothing is allocated for a number of frames that the file can't hold.
    let mut movie = Movie::new();
    movie.set(b"stsz", 0, &numbers(&[1, u32::MAX]));
    let sentence = "it has 4294967295 frames; at most 100000 are allowed";
    assert_eq!(movie.error(), Error::unsupported(sentence).in_track(1));
    let mut movie = Movie::new();
    movie.tracks = vec![movie.track(); 16];
    assert_eq!(movie.error(), Error::unsupported("it has more than 16 tracks"));
}
