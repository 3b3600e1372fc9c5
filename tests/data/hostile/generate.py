#!/usr/bin/env python3
"""Writes the hostile pictures beside this script, and MANIFEST.tsv, which says how the server answers them.

Standard library only, and the same bytes each time. Columns of MANIFEST.tsv: file; answer where one frame is wanted;
answer where all frames are (`=`: the same); note. An answer is `ok` or a code of X-Error; `a|b` leaves it open. Sizes
below are meant for the default limits. The other hostile files of tests/data are listed with `../`.
"""

import random
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = []


def write(name, data, still, kept="=", note=""):
    (HERE / name).write_bytes(data)
    ROWS.append((name, still, kept, note))


# --- PNG (W3C PNG)

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, raw, depth=8, colour=0, interlace=0, extra=b"", end=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"") + end)


def adam7(width, height, depth):
    """The length of an interlaced picture of one band: the lines of seven passes, each with its filter byte."""
    total = 0
    for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        columns, lines = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0 and lines > 0:
            total += lines * (1 + (columns * depth + 7) // 8)
    return total


SMALL_PNG = bytes((x * 16 if x else 0) & 255 for _ in range(8) for x in range(9))


def iccp(profile):
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile, 9))


# --- JPEG (ITU T.81)

def segment(marker, data):
    return bytes([0xff, marker]) + struct.pack(">H", len(data) + 2) + data


# One code of one bit: symbol 0.
ONE_CODE = bytes([1] + [0] * 15) + b"\0"
QUANTISATION = segment(0xdb, b"\0" + bytes([1] * 64))
TABLES = QUANTISATION + segment(0xc4, b"\0" + ONE_CODE) + segment(0xc4, b"\x10" + ONE_CODE)


def frame(kind, width, height, sampling=(0x11,)):
    parts = b"".join(bytes([number + 1, factors, 0]) for number, factors in enumerate(sampling))
    return segment(kind, struct.pack(">BHHB", 8, height, width, len(sampling)) + parts)


def small_jpeg(extra=b"", end=b""):
    scan = segment(0xda, b"\x01\x01\0\0\x3f\0") + b"\x3f"
    return b"\xff\xd8" + extra + TABLES + frame(0xc0, 8, 8) + scan + b"\xff\xd9" + end


def progressive(width, height, scans):
    """Flat, with three components of 4:2:0: a scan of its DC, then so many that say that nothing comes any more."""
    mcus = -(-width // 16) * -(-height // 16)
    bits = mcus * 6
    data = bytes(bits // 8) + (bytes([0xff >> bits % 8]) if bits % 8 else b"")
    body = segment(0xda, b"\x03\x01\0\x02\0\x03\0\0\0\0") + data
    # One code for each run: a run of 2^14 blocks and more, its length in 14 bits.
    body += segment(0xc4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    blocks = -(-width // 8) * -(-height // 8)
    for number in range(scans):
        runs, left = "", blocks
        while left >= 1 << 14:
            run = min(left, (1 << 15) - 1)
            runs += "0" + format(run - (1 << 14), "014b")
            left -= run
        assert left == 0 or runs, "too small a picture"
        if left:
            # The last but one gives some of its own away.
            runs, left = "", blocks
            count = -(-blocks // ((1 << 15) - 1))
            for rest in range(count, 0, -1):
                run = left // rest
                runs += "0" + format(run - (1 << 14), "014b")
                left -= run
        runs += "1" * (-len(runs) % 8)
        data = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
        band = 1 + number % 63
        body += segment(0xda, bytes([1, 1, 0, band, band, 0])) + data
    return b"\xff\xd8" + TABLES + frame(0xc2, width, height, (0x22, 0x11, 0x11)) + body + b"\xff\xd9"


# --- GIF89a

def gif(width, height, frames, screen=None, loop=b""):
    wide, high = screen or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", wide, high, 0x80, 0, 0) + b"\xc0\0\0\0\0\xc0" + loop
    # For 1×1: clear, 0, end in codes of 3 bits.
    one = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02D\x01\0"
    return head + one * frames + b";"


# --- WebP (RFC 9649)

def riff(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8l(width, height):
    """One colour: no transforms, no cache, and five prefix codes of one symbol each, which take no bits."""
    bits = [(width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    for symbol in (0x60, 0xa0, 0x20, 0xff, 0):
        bits += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    value = shift = 0
    for number, length in bits:
        value |= number << shift
        shift += length
    return riff(b"VP8L", b"\x2f" + value.to_bytes(shift // 8 + 2, "little"))


def vp8x(width, height, flags=0):
    return riff(b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def anmf(bitstream):
    return riff(b"ANMF", bytes(6) + bytes(6) + b"\x0a\0\0\0" + bitstream)


# --- AVIF

def with_ispe(data, width, height):
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8:]


def box(kind, data):
    return struct.pack(">I", len(data) + 8) + kind + data


def full(kind, version, data):
    return box(kind, bytes([version, 0, 0, 0]) + data)


def avif(data, extents, items=1, properties=None):
    """So many AV1 items, all made of the same extents of some data."""
    ids = range(1, items + 1)
    infe = b"".join(full(b"infe", 2, struct.pack(">HH", item, 0) + b"av01\0") for item in ids)
    properties = properties or box(b"iprp", box(b"ipco", full(b"ispe", 0, struct.pack(">II", 64, 64))))

    def head(start):
        places = b"".join(struct.pack(">II", start + offset, length) for offset, length in extents)
        iloc = b"".join(struct.pack(">HHH", item, 0, len(extents)) + places for item in ids)
        meta = [full(b"hdlr", 0, b"\0\0\0\0pict" + bytes(13)), full(b"pitm", 0, b"\0\1"),
                full(b"iloc", 0, struct.pack(">BBH", 0x44, 0, items) + iloc),
                full(b"iinf", 0, struct.pack(">H", items) + infe), properties]
        return (box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + full(b"meta", 0, b"".join(meta))
                + struct.pack(">I", len(data) + 8) + b"mdat")

    return head(len(head(0))) + data


def padded(lying):
    """A picture of 9000 x 9000 that says it has 100 x 100, behind a padding OBU that is one extent many times."""
    properties = lying[lying.index(b"iprp") - 4:lying.index(b"mdat") - 4]
    stream = lying[lying.index(b"mdat") + 4:]
    # Behind the temporal delimiter.
    length = 30 * 2400
    padding = bytes([15 << 3 | 2, length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
    # Each piece of it ends with the byte that padding ends with.
    piece = bytes(2399) + b"\x80"
    data = stream[:2] + padding + piece + stream[2:]
    start = 2 + len(padding)
    return avif(data, [(0, start)] + [(start, 2400)] * 30 + [(start + 2400, len(stream) - 2)], properties=properties)


# --- EXIF (TIFF 6.0)

def exif(*entries, following=0):
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return segment(0xe1, b"Exif\0\0MM\0\x2a\0\0\0\x08" + directory + struct.pack(">I", following))


def main():
    quarters = (HERE.parent / "quarters.avif").read_bytes()
    noise = random.Random(1).randbytes

    # Bombs.
    write("interlaced-144mpx.png", png(12000, 12000, bytes(adam7(12000, 12000, 1)), 1, 0, 1), "too_many_pixels")
    write("interlaced-16mpx.png", png(4000, 4000, bytes(adam7(4000, 4000, 8)), 8, 0, 1), "ok", note="held whole")
    write("lossless-268mpx.webp", webp(vp8l(16383, 16383)), "too_many_pixels")
    write("lossless-25mpx.webp", webp(vp8l(5000, 5000)), "ok", note="held whole")
    write("screen-65535.gif", gif(1, 1, 1, (65535, 65535)), "side_too_long")
    write("frame-beyond-screen.gif", gif(1, 1, 1) [:-1] + b"," + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02D\x01\0;",
          "too_many_pixels", note="a frame that the decoder would go through and not show")
    write("frames-12000.gif", gif(1, 1, 12000), "ok", "too_many_frames")
    write("frames-900-large.gif", gif(1, 1, 900, (1000, 1000)), "ok", "animation_too_large")
    write("frames-3000.webp", webp(vp8x(1, 1, 2), riff(b"ANIM", bytes(6)), *[anmf(vp8l(1, 1))] * 3000), "ok", "too_many_frames")
    write("progressive-400mpx.jpg", b"\xff\xd8" + TABLES + frame(0xc2, 20000, 20000, (0x22, 0x11, 0x11)), "too_many_pixels|corrupt_image")
    write("progressive-16mpx.jpg", progressive(4000, 4000, 5), "ok", note="held whole")
    write("scans-90.jpg", progressive(2048, 2048, 89), "ok", note="as many as are allowed, nearly")
    write("scans-300.jpg", progressive(1024, 1024, 299), "too_many_scans")
    write("ispe-900mpx.avif", with_ispe(quarters, 30000, 30000), "too_many_pixels")
    ROWS.append(("../bomb-15000x15000-rgb.png", "too_many_pixels", "=", "225 Mpx"))
    ROWS.append(("../many-scans.jpg", "too_many_scans", "=", "2000 scans"))
    ROWS.append(("../lying-ispe.avif", "too_many_pixels", "=", "the AV1 stream is 9000 x 9000"))
    lying = (HERE.parent / "lying-ispe.avif").read_bytes()
    write("padded-9000x9000.avif", padded(lying), "too_many_pixels", note="the AV1 stream is far into an item in pieces")
    write("items-in-pieces.avif", avif(b"\x12\0" + bytes(32766), [(0, 32768)] * 2, 1000), "corrupt_image", note="64 MB if they were put together")
    # A sequence header with timing information, whose number of ticks is a run of zeros.
    zeros = bytes([1 << 3, 0b00000_1_00]) + bytes(7) + b"\x02" + bytes(60000)
    write("zero-run.avif", avif(zeros, [(0, len(zeros))], 1000), "corrupt_image")

    # Absurd headers.
    write("zero.png", png(0, 0, b""), "corrupt_image")
    write("zero.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 0, 0) + segment(0xda, b"\x01\x01\0\0\x3f\0") + b"\x3f\xff\xd9", "corrupt_image")
    write("zero.gif", gif(0, 0, 0), "corrupt_image")
    write("zero.webp", webp(riff(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\0\0\0\0" + bytes(20))), "corrupt_image")
    write("zero.avif", with_ispe(quarters, 0, 0), "ok|corrupt_image", note="the AV1 stream has a size")
    write("largest.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 65535, 65535) + segment(0xda, b"\x01\x01\0\0\x3f\0"), "side_too_long")
    write("largest.webp", webp(vp8x(1 << 24, 1 << 24), vp8l(16, 16)), "side_too_long")
    write("largest.avif", with_ispe(quarters, (1 << 31) - 1, (1 << 31) - 1), "side_too_long")
    write("long.png", png(1, 65501, bytes(2 * 65501)), "side_too_long")
    write("line.png", png(65500, 1, bytes(65501)), "ok")
    write("no-frame-header.jpg", b"\xff\xd8" + segment(0xfe, b"nothing else") + b"\xff\xd9", "corrupt_image")
    write("no-frames.gif", gif(10, 10, 0), "corrupt_image")
    write("no-data.png", png(8, 8, b""), "corrupt_image")
    write("no-picture.webp", webp(vp8x(8, 8), riff(b"EXIF", b"MM")), "corrupt_image")
    write("no-items.avif", b"\0\0\0\x14ftypavif\0\0\0\0avif", "corrupt_image")
    ROWS.append(("../header-2147483647.png", "side_too_long", "=", ""))

    # Metadata.
    write("profile-bomb.png", png(8, 8, SMALL_PNG, extra=iccp(bytes(20 << 20))), "metadata_too_large", note="20 MB when it is unpacked")
    write("text-bomb.png", png(8, 8, SMALL_PNG, extra=chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(20 << 20), 9))), "ok|corrupt_image")
    write("profile-noise.png", png(8, 8, bytes(25 * 8), colour=2, extra=iccp(noise(500))), "ok|corrupt_image")
    tags = struct.pack(">I", 128 + 4) + bytes(32) + b"acsp" + bytes(88) + struct.pack(">I", 0xffffffff)
    write("profile-tags.png", png(8, 8, bytes(25 * 8), colour=2, extra=iccp(tags)), "ok|corrupt_image", note="4 thousand million tags")
    write("profile-short.jpg", small_jpeg(segment(0xe2, b"ICC_PROFILE\0\x01\xff" + tags[:60])), "ok|corrupt_image", note="the first of 255 parts")
    write("exif-cycle.jpg", small_jpeg(exif((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), following=8)), "ok", note="directories that are their own successors")
    write("exif-overflow.jpg", small_jpeg(exif((0x0112, 3, 0xffffffff, 0xfffffff0), (0x010e, 2, 0x7fffffff, 8), (0x9286, 7, 0x80000000, 0))), "ok")
    write("exif-many.jpg", small_jpeg(exif(*[(0x010e, 2, 4, 0x41414100)] * 2000)), "ok")
    # Whoever follows them is busy for seconds.
    write("exif-follow.jpg", small_jpeg(exif(*[(0x8769, 4, 1, 8)] * 5400)), "ok", note="5400 entries that each lead to all of them")
    write("exif-orientation.jpg", small_jpeg(exif((0x0112, 3, 1, 0xffff0000))), "ok", note="orientation 65535")

    # Pictures that are something else as well.
    write("script.gif", b"GIF89a" + b"/*" + struct.pack("<HBBB", 1, 0x80, 0, 0) + b"\xc0\0\0\0\0\xc0"
          + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0;*/=1;alert('<?php script')//<script>", "ok", note="10799 x 1")
    write("archive.jpg", small_jpeg(end=b"PK\x03\x04<?php script") , "ok")
    write("vector.png", png(8, 8, SMALL_PNG, extra=chunk(b"tEXt", b"Comment\0<svg onload='<?php script'/>"), end=b"<svg><?php script</svg>"), "ok")
    write("mvg.png", png(8, 8, SMALL_PNG, extra=chunk(b"tEXt", b"mvg\0push graphic-context fill 'url(https://127.0.0.1/<?php script)'")), "ok")

    # What is no picture of ours, whatever it is called.
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='file:///etc/passwd'/></svg>"
    for name, data in {
        "svg.jpg": svg,
        "svg-declared.png": b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" + svg,
        "pdf.jpg": b"%PDF-1.4\n" + small_jpeg(),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "mvg.jpg": b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'https://127.0.0.1/x.jpg'\npop graphic-context\n",
        "msl.png": b"<?xml version='1.0'?><image><read filename='/etc/passwd'/></image>",
        "psd.jpg": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x09\0\0\0\x09\0\x08\0\3" + bytes(14),
        "tiff-little.jpg": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        "tiff-big.png": b"MM\0*\0\0\0\x08\0\0\0\0\0\0",
        "bmp.png": b"BM\x1e\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\1\0\1\0\1\0\x18\0\0\0\xff\0",
        "ico.png": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\0\0\0\0\x16\0\0\0",
        "heic.avif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x08mdat",
        "jxl.webp": b"\xff\x0a\xfa\x1f\x01\x91\x08\x06\x01\0",
        "jxl-boxed.avif": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ",
        "jp2.jpg": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ",
        "j2k.jpg": b"\xff\x4f\xff\x51\0\x29",
        "exr.png": b"\x76\x2f\x31\x01\2\0\0\0",
        "fits.png": b"SIMPLE  =                    T",
        "ppm.png": b"P6 1 1 255 abc",
        "hdr.png": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n",
        "xcf.png": b"gimp xcf v001\0\0\0\0\1\0\0\0\1",
        "wave.webp": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0",
        "vips.png": b"\x08\xf2\xa6\xb6" + bytes(60),
        "matrix.jpg": b"2 2\n1 0\n0 1\n",
        "mp4.avif": b"\0\0\0\x18ftypisom\0\0\2\0isommp41",
        "text.jpg": b"not a picture at all\n",
        "page.gif": b"<!doctype html><script>alert(1)</script>",
        "empty.jpg": b"",
        "one-byte.jpg": b"\xff",
        "gif88.gif": b"GIF88a\1\0\1\0\0\0\0;",
    }.items():
        write(name, data, "unsupported_format")

    # Broken data.
    whole = gif(1, 1, 1)
    write("code-beyond-table.gif", whole.replace(b"\x02\x02D\x01\0;", b"\x02\x03\xfc\xff\xff\0;"), "ok|corrupt_image")
    write("code-size.gif", whole.replace(b"\x02\x02D\x01\0;", b"\x0f\x02D\x01\0;"), "ok|corrupt_image", note="codes of 15 bits")
    write("checksum.png", png(8, 8, SMALL_PNG)[:-20] + bytes(8) + chunk(b"IEND", b""), "ok|corrupt_image")
    write("noise-behind-header.png", png(64, 64, b"")[:33] + chunk(b"IDAT", noise(300)) + chunk(b"IEND", b""), "corrupt_image")
    write("noise-behind-header.jpg", small_jpeg()[:-3] + noise(3000) + b"\xff\xd9", "ok|corrupt_image")
    write("noise-behind-header.webp", webp(vp8l(64, 64)[:13] + noise(300)), "corrupt_image|ok")
    write("noise-behind-header.avif", quarters[:-200] + noise(200), "corrupt_image|ok")
    write("two-frame-headers.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 8, 8) + frame(0xc2, 20000, 20000) + segment(0xda, b"\x01\x01\0\0\x3f\0") + b"\x3f\xff\xd9", "too_many_pixels")

    lines = ["file\tstill\tkept\tnote"] + ["\t".join(row) for row in sorted(ROWS)]
    (HERE / "MANIFEST.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
