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


def progressive(width, height, scans, component=1):
    """Flat, with three components of 4:2:0: a scan of its DC, then so many that say that nothing comes any more."""
    mcus = -(-width // 16) * -(-height // 16)
    bits = mcus * 6
    data = bytes(bits // 8) + (bytes([0xff >> bits % 8]) if bits % 8 else b"")
    body = segment(0xda, b"\x03\x01\0\x02\0\x03\0\0\0\0") + data
    # One code for each run: a run of 2^14 blocks and more, its length in 14 bits.
    body += segment(0xc4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    side = 8 if component == 1 else 16
    blocks = -(-width // side) * -(-height // side)
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
        body += segment(0xda, bytes([1, component, 0, band, band, 0])) + data
    return b"\xff\xd8" + TABLES + frame(0xc2, width, height, (0x22, 0x11, 0x11)) + body + b"\xff\xd9"


def restarts(width, height):
    """Flat 4:2:0 with a restart after each MCU."""
    mcus = width // 16 * (height // 16)
    data = b"".join(b"\0\x0f" + bytes([0xff, 0xd0 + number % 8]) for number in range(mcus))[:-2]
    return (b"\xff\xd8" + TABLES + frame(0xc0, width, height, (0x22, 0x11, 0x11)) + segment(0xdd, b"\0\1")
            + segment(0xda, b"\x03\x01\0\x02\0\x03\0\0\x3f\0") + data + b"\xff\xd9")


def ends(component, blocks):
    """A scan of runs of 32,767 blocks without coefficients, the last of which leads far behind the image."""
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return (segment(0xc4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
            + segment(0xda, bytes([1, component, 0, 1, 63, 0])) + data)


# --- GIF89a

def gif(width, height, frames, screen=None, loop=b""):
    wide, high = screen or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", wide, high, 0x80, 0, 0) + b"\xc0\0\0\0\0\xc0" + loop
    # For 1×1: clear, 0, end in codes of 3 bits.
    one = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02D\x01\0"
    return head + one * frames + b";"


def gif_frame(left, top, width, height, data, disposal=0, size=2):
    """A frame with this data, 50 ms."""
    parts = [data[at:at + 255] for at in range(0, len(data), 255)]
    return (b"\x21\xf9\x04" + struct.pack("<BHBB", disposal << 2, 5, 0, 0) + b"," + struct.pack("<HHHHB", left, top, width, height, 0)
            + bytes([size]) + b"".join(bytes([len(part)]) + part for part in parts) + b"\0")


def gif_of(width, height, *frames):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xc0\0\0\0\0\xc0" + b"".join(frames) + b";"


def longest_strings(pixels):
    """One colour: each code stands for a string that is one longer than the last, up to the end of the table."""
    bits = shift = done = 0
    width, following, code, length = 3, 6, 0, 1
    bits, shift = 4, 3
    while done < pixels:
        bits, shift, done = bits | code << shift, shift + width, done + length
        if following < 4096:
            code, length = following, length + 1
            following += 1
            if following - 1 == 1 << width and width < 12:
                width += 1
    return bits.to_bytes(shift // 8 + 1, "little")


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


class Avif:
    """An AVIF put together item by item (ISO/IEC 14496-12 §8.11, ISO/IEC 23008-12 §9.3)."""

    def __init__(self):
        self.items, self.properties, self.references, self.primary = [], [], [], 1

    def property(self, box):
        """Its index in ipco."""
        if box not in self.properties:
            self.properties.append(box)
        return self.properties.index(box) + 1

    def item(self, kind, data=None, *properties, essential=(), extents=None, protection=0):
        """Returns the item's number. Without data, iloc does not list it; its extents are offsets and lengths in the data."""
        associations = [(self.property(box), box in essential) for box in properties]
        self.items.append((kind, data, extents, associations, protection))
        return len(self.items)

    def refer(self, kind, source, *targets):
        self.references.append(box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets)))

    def written(self):
        infe = b"".join(full(b"infe", 2, struct.pack(">HH", number, protection) + kind + b"\0")
                        for number, (kind, _, _, _, protection) in enumerate(self.items, 1))
        ipma = b""
        for number, (_, _, _, associations, _) in enumerate(self.items, 1):
            ipma += struct.pack(">HB", number, len(associations))
            ipma += bytes(index | essential << 7 for index, essential in associations)
        # Items with the same bytes are at the same place.
        data, starts = b"", {}
        for _, own, _, _, _ in self.items:
            if own is not None and own not in starts:
                starts[own] = len(data)
                data += own

        def head(start):
            located, entries = 0, b""
            for number, (_, own, extents, _, _) in enumerate(self.items, 1):
                if own is None:
                    continue
                located += 1
                places = [(start + starts[own] + offset, length) for offset, length in extents or [(0, len(own))]]
                entries += struct.pack(">HHH", number, 0, len(places)) + b"".join(struct.pack(">II", *place) for place in places)
            meta = [full(b"hdlr", 0, b"\0\0\0\0pict" + bytes(13)), full(b"pitm", 0, struct.pack(">H", self.primary)),
                    full(b"iloc", 0, struct.pack(">BBH", 0x44, 0, located) + entries),
                    full(b"iinf", 0, struct.pack(">H", len(self.items)) + infe)]
            if self.references:
                meta.append(full(b"iref", 0, b"".join(self.references)))
            meta.append(box(b"iprp", box(b"ipco", b"".join(self.properties))
                            + full(b"ipma", 0, struct.pack(">I", len(self.items)) + ipma)))
            return (box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + full(b"meta", 0, b"".join(meta))
                    + struct.pack(">I", len(data) + 8) + b"mdat")

        return head(len(head(0))) + data


def ispe(width, height):
    return full(b"ispe", 0, struct.pack(">II", width, height))


# 4:4:4, 4:2:0 and 4:0:0 of 8 bits (AV1-ISOBMFF §2.3).
AV1C_444, AV1C_420, AV1C_400 = (box(b"av1C", bytes(fields)) for fields in ([0x81, 0x20, 0, 0], [0x81, 0, 0x0c, 0], [0x81, 0, 0x1c, 0]))
ALPHA = full(b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


def streams(name):
    """The AV1 streams of a file that avifenc, Pillow or we wrote: they start with a temporal delimiter and fill mdat."""
    data = (HERE.parent / name).read_bytes()
    found = data[data.index(b"mdat") + 4:].split(b"\x12\x00\x0a")[1:]
    return [b"\x12\x00\x0a" + stream for stream in found]


def obu(kind, payload):
    """An OBU with its size (AV1 §5.3)."""
    size, length = len(payload), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([kind << 3 | 2]) + length + bytes([size]) + payload


def sequence_header(width, height):
    """Of a still image of 8 bits in 4:2:0 (AV1 §5.5)."""
    bits = "000" "1" "1" "00000" + "1111" * 2 + f"{width - 1:016b}{height - 1:016b}"
    # Tools; 8 bits, not monochrome, no description, full range, chroma position, separate_uv_delta_q; film grain; the end.
    bits += "000" "000" + "0" "0" "0" "1" "00" "0" + "0" "1"
    bits += "0" * (-len(bits) % 8)
    return obu(1, int(bits, 2).to_bytes(len(bits) // 8, "big"))


def plain(av1, *properties, size=(64, 48), codec=AV1C_444, essential=()):
    """A single item."""
    file = Avif()
    file.item(b"av01", av1, ispe(*size), codec, *properties, essential=essential)
    return file


def with_alpha(color, alpha, alpha_size=(64, 48)):
    file = plain(color)
    file.refer(b"auxl", file.item(b"av01", alpha, ispe(*alpha_size), AV1C_400, ALPHA), 1)
    return file


def grid(rows, columns, size, tiles, tile_size=(64, 64), codec=AV1C_420, kind=b"av01", named=None):
    file = Avif()
    file.item(b"grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size), ispe(*size))
    codecs = codec if isinstance(codec, list) else [codec] * len(tiles)
    numbers = [file.item(kind, tile, ispe(*tile_size), own) for tile, own in zip(tiles, codecs)]
    file.refer(b"dimg", 1, *(named or numbers))
    return file


def avis(sample, count, size=(64, 48), codec=AV1C_444, offset=None, tables=None):
    """An image sequence whose frames are all the same key frame at one place, or at another offset."""
    ftyp = box(b"ftyp", b"avis\0\0\0\0avisavif")
    start = len(ftyp) + 8 if offset is None else offset
    entry = box(b"av01", bytes(24) + struct.pack(">HH", *size) + bytes(50) + codec)
    numbers = lambda *values: struct.pack(f">{len(values)}I", *values)
    stbl = {
        b"stsd": numbers(1) + entry,
        b"stts": numbers(1, count, 1),
        b"stsc": numbers(1, 1, 1, 1),
        b"stsz": numbers(len(sample), count),
        b"stco": numbers(count, *[start] * count),
    }
    stbl.update(tables or {})
    minf = box(b"minf", box(b"stbl", b"".join(full(name, 0, table) for name, table in stbl.items())))
    mdia = full(b"mdhd", 0, numbers(0, 0, 30, count, 0)) + full(b"hdlr", 0, b"\0\0\0\0pict" + bytes(13)) + minf
    trak = box(b"trak", full(b"tkhd", 0, numbers(0, 0, 1, 0, count)) + box(b"mdia", mdia))
    return ftyp + box(b"mdat", sample) + box(b"moov", trak)


def write_avif():
    quarters_file = (HERE.parent / "quarters.avif").read_bytes()
    quarters, = streams("quarters.avif")
    odd, odd_alpha = sorted(streams("odd.avif"), key=len, reverse=True)
    tiles = streams("grid.avif")
    masks = streams("grid-alpha.avif")[:4]
    lying_file = (HERE.parent / "lying-ispe.avif").read_bytes()
    large, = streams("lying-ispe.avif")
    unsupported, corrupt = "unsupported_format", "corrupt_image"

    # Sequences.
    many = {b"stsc": struct.pack(">4I", 1, 1, 0xffffffff, 1), b"stco": struct.pack(">2I", 1, 32)}
    write("sequence-3000.avif", avis(quarters, 3000), "ok", "too_many_frames")
    write("sequence-large.avif", avis(large, 2, size=(9000, 9000), codec=AV1C_420), "too_many_pixels")
    write("sequence-long-chunk.avif", avis(quarters, 90_000, tables=many), corrupt, note="a chunk of 4,294,967,295 frames")
    write("sequence-huge.avif", avis(quarters, 3, tables={b"stsz": struct.pack(">2I", 1, 0xffffffff)}), unsupported)
    write("sequence-huge-table.avif", avis(quarters, 3, tables={b"stco": struct.pack(">2I", 0xffffffff, 32)}), corrupt)
    write("sequence-elsewhere.avif", avis(quarters, 3, offset=0xffffff00), corrupt, note="offsets beyond the file")
    write("sequence-missing.avif", avis(quarters, 3, tables={b"stco": struct.pack(">4I", 3, 32, 32, 0x7fffffff)}), "ok", corrupt, note="the last frame is beyond the file")
    write("sequence-timeless.avif", avis(quarters, 3, tables={b"stts": struct.pack(">I", 0)}), corrupt)
    hidden = quarters + obu(3, bytes(9)) * 2
    write("sequence-sizes.avif", avis(quarters + odd, 2, tables={
        b"stsz": struct.pack(">4I", 0, 2, len(quarters), len(odd)), b"stco": struct.pack(">3I", 2, 32, 32 + len(quarters))}),
        "ok", corrupt, note="a frame of 33 x 17")
    write("sequence-headers.avif", avis(hidden, 3), "ok", note="more frame headers than frames")

    # Sizes.
    write("flat-9000x9000.avif", plain(large, size=(9000, 9000), codec=AV1C_420).written(), "too_many_pixels")
    write("largest.avif", plain(sequence_header(65536, 65536) + obu(6, bytes(20)), size=(65536, 65536), codec=AV1C_420).written(), "side_too_long")
    file = plain(quarters)
    mask = file.item(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 0, 64, 48), ispe(64, 48), ALPHA)
    file.refer(b"dimg", mask, file.item(b"av01", large, ispe(9000, 9000), AV1C_420))
    file.refer(b"auxl", mask, 1)
    write("alpha-9000x9000.avif", file.written(), "too_many_pixels", note="the one tile of the grid of alpha")
    write("ispe-900mpx.avif", with_ispe(quarters_file, 30000, 30000), corrupt, note="the AV1 stream is 64 x 48")
    write("ispe-largest.avif", with_ispe(quarters_file, (1 << 31) - 1, (1 << 31) - 1), corrupt)
    write("zero.avif", with_ispe(quarters_file, 0, 0), corrupt)
    ROWS.append(("../lying-ispe.avif", corrupt, "=", "the AV1 stream is 9000 x 9000"))

    # Items.
    file = plain(quarters)
    file.item(b"iden")
    file.refer(b"dimg", 2, 1)
    write("iden-not-located.avif", file.written(), unsupported, note="an item without bytes that stands for another")
    file = plain(quarters)
    for _ in range(999):
        file.item(b"av01")
    file.item(b"iovl", bytes(20))
    write("items-1001.avif", file.written(), unsupported, note="the last one is an overlay")
    file = plain(quarters)
    for _ in range(300):
        file.item(b"av01")
    write("items-301.avif", file.written(), unsupported)
    file = Avif()
    mask = box(b"mskC", b"\0\0\0\0\x08")
    file.item(b"mski", bytes(4096), ispe(64, 64), mask)
    write("mski.avif", file.written(), unsupported, note="a mask: an item of bytes of any number")
    file = plain(quarters)
    file.refer(b"auxl", file.item(b"mski", bytes(4096), ispe(64, 48), mask, ALPHA), 1)
    write("mski-alpha.avif", file.written(), unsupported)
    write("mski-tile.avif", grid(2, 2, (128, 128), [bytes(4096)] * 4, codec=mask, kind=b"mski").written(), unsupported)
    file = Avif()
    file.item(b"av01", quarters, ispe(64, 48), AV1C_444, protection=1)
    write("encrypted.avif", file.written(), unsupported)
    # Two pieces each, at the same place.
    file = grid(16, 16, (1024, 1024), [tiles[0] + obu(15, bytes(65535) + b"\x80")] * 256)
    file.items[1:] = [(kind, data, [(0, 1000), (1000, len(data) - 1000)], *rest) for kind, data, _, *rest in file.items[1:]]
    write("items-in-pieces.avif", file.written(), unsupported, note="16 MB if they were put together")
    write("padded-9000x9000.avif", padded(large), unsupported, note="an item of one extent 30 times is larger than the file")
    write("truncated.avif", quarters_file[:-1], corrupt)
    file = plain(quarters)
    file.references = [box(b"thmb", struct.pack(">HHH", 1, 1, 1))] * 2000
    write("references-2000.avif", file.written(), unsupported)
    file = plain(quarters)
    file.properties += [box(b"free", b"")] * 5000
    write("properties-5000.avif", file.written(), unsupported)

    # Grids.
    write("grid-gap.avif", grid(2, 2, (129, 128), tiles).written(), corrupt, note="one column is in no tile")
    write("grid-overhang.avif", grid(2, 2, (64, 128), tiles).written(), corrupt, note="two tiles are outside")
    write("grid-odd.avif", grid(2, 1, (33, 34), [odd, odd + b"\x7a\1\x80"], (33, 17)).written(), corrupt, note="4:2:0 tiles of an odd height")
    write("grid-smaller.avif", grid(2, 2, (256, 256), tiles, (128, 128)).written(), corrupt, note="the AV1 streams are smaller than their ispe")
    write("grid-count.avif", grid(2, 2, (128, 128), tiles, named=[2, 3, 4]).written(), corrupt)
    write("grid-65535.avif", grid(2, 2, (128, 128), tiles, named=[2] * 65535).written(), unsupported)
    write("grid-65536-tiles.avif", grid(256, 256, (16384, 16384), tiles).written(), unsupported)
    write("grid-of-itself.avif", grid(1, 1, (64, 64), tiles, named=[1]).written(), unsupported)
    file = grid(1, 1, (64, 64), [struct.pack(">BBBBHH", 0, 0, 0, 0, 64, 64)], kind=b"grid")
    file.refer(b"dimg", 2, file.item(b"av01", tiles[0], ispe(64, 64), AV1C_420))
    write("grid-of-grids.avif", file.written(), unsupported)
    write("grid-formats.avif", grid(2, 2, (128, 128), tiles[:3] + masks[:1], codec=[AV1C_420] * 3 + [AV1C_400]).written(), corrupt, note="one tile is monochrome")
    delimited = [b"\x12\0" * 2000 + tiles[0]] * 256
    write("grid-delimiters.avif", grid(16, 16, (1024, 1024), delimited).written(), unsupported, note="512,000 OBUs in one extent")

    # Alpha.
    file = with_alpha(quarters, masks[0])
    write("alpha-stream.avif", file.written(), corrupt, note="the AV1 stream of alpha is 64 x 64")
    write("alpha-ispe.avif", with_alpha(quarters, masks[0], (64, 64)).written(), corrupt)
    file = grid(1, 1, (64, 64), [masks[0]], codec=AV1C_400)
    file.items[1] = (*file.items[1][:3], file.items[1][3] + [(file.property(ALPHA), False)], 0)
    number = file.item(b"av01", masks[1], ispe(64, 64), AV1C_400, ALPHA)
    file.references = []
    file.primary = 2
    file.refer(b"auxl", number, 2)
    file.refer(b"auxl", 2, number)
    write("alpha-cycle.avif", file.written(), corrupt, note="two images, each of which is the other's alpha")
    file = Avif()
    file.item(b"av01", masks[0], ispe(64, 64), AV1C_400, ALPHA)
    file.refer(b"auxl", 1, 1)
    write("alpha-of-itself.avif", file.written(), corrupt)
    file = plain(quarters)
    file.refer(b"prem", 1, 1)
    write("premultiplied-opaque.avif", file.written(), corrupt, note="prem without alpha")

    # Properties.
    unknown = box(b"abcd", b"12")
    write("essential-unknown.avif", plain(quarters, unknown, essential=[unknown]).written(), unsupported)
    colors = box(b"j2kH", box(b"pclr", struct.pack(">HB", 65535, 0)))
    write("essential-j2k.avif", plain(quarters, colors, essential=[colors]).written(), unsupported, note="a palette of 65,535 entries in 11 bytes")
    point = box(b"a1op", b"\1")
    write("operating-point.avif", plain(quarters, point, essential=[point]).written(), unsupported)
    turn, window = box(b"irot", b"\1"), box(b"clap", struct.pack(">8I", 8, 1, 8, 1, 0, 1, 0, 1))
    write("clap-after-irot.avif", plain(quarters, turn, window, essential=[turn, window]).written(), unsupported)

    # AV1.
    def configured(obus):
        return plain(quarters, codec=AV1C_444[:4].replace(b"\x0c", bytes([12 + len(obus)])) + AV1C_444[4:] + obus).written()

    write("av1c-swallows.avif", configured(b"\x7a\x20\0\0"), corrupt, note="a padding OBU in av1C goes on into the item")
    write("av1c-without-size.avif", configured(b"\x78\0\0\0"), corrupt)
    write("av1c-frame.avif", configured(obu(6, b"\0\0")), corrupt)
    write("delimiter-without-size.avif", plain(b"\x10" + quarters[2:]).written(), corrupt, note="it reaches to the end of the item")
    head = quarters[:2 + 2 + quarters[3]]
    frames = quarters[len(head):]
    write("frames-50.avif", plain(head + frames * 50).written(), unsupported, note="frames that are decoded and not shown")
    write("frames-redundant.avif", plain(head + b"".join(obu(7, b"\0") + obu(4, b"\0") for _ in range(50))).written(), unsupported, note="frame headers that call themselves redundant")
    write("two-headers.avif", plain(head + sequence_header(64, 48) + frames).written(), corrupt)
    zeros = bytes([0b00000_1_00]) + bytes(7) + b"\x02" + bytes(60000)
    write("zero-run.avif", plain(obu(1, zeros)).written(), corrupt, note="a number of ticks that begins with 480,000 zeros")
    write("no-items.avif", b"\0\0\0\x14ftypavif\0\0\0\0avif", corrupt)
    noise = random.Random(1)
    write("noise-behind-header.avif", quarters_file[:-200] + noise.randbytes(200), corrupt)


def padded(stream):
    """An image of 9000 x 9000 behind a padding OBU that is one extent many times."""
    length = 30 * 2400
    padding = bytes([15 << 3 | 2, length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
    # Each piece of it ends with the byte that padding ends with.
    piece = bytes(2399) + b"\x80"
    # Behind the temporal delimiter.
    data = stream[:2] + padding + piece + stream[2:]
    start = 2 + len(padding)
    file = Avif()
    file.item(b"av01", data, ispe(9000, 9000), AV1C_420,
              extents=[(0, start)] + [(start, 2400)] * 30 + [(start + 2400, len(stream) - 2)])
    return file.written()


# --- EXIF (TIFF 6.0)

def exif(*entries, following=0):
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return segment(0xe1, b"Exif\0\0MM\0\x2a\0\0\0\x08" + directory + struct.pack(">I", following))


def main():
    noise = random.Random(1).randbytes

    write_avif()

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
    write("strings-9mpx.gif", gif_of(3000, 3000, gif_frame(0, 0, 3000, 3000, longest_strings(9_000_000))), "ok", note="held whole")
    strings = gif_frame(0, 0, 3600, 3600, longest_strings(3600 * 3600))
    write("strings-4.gif", gif_of(3600, 3600, *[strings] * 4), "ok", "animation_too_large", note="held whole")
    write("frames-small-on-large.gif", gif_of(5100, 5100, *[gif_frame(5, 5, 1, 1, b"D\x01")] * 2), "ok", "animation_too_large", note="held whole")
    write("frames-empty.gif", gif_of(50, 40, *[gif_frame(1, 1, 0, 0, b"")] * 90), "ok", note="90 frames without pixels")
    write("frames-restored.gif", gif_of(200, 200, *[gif_frame(0, 0, 200, 200, longest_strings(40_000), disposal=3)] * 40), "ok", note="held whole; each frame is undone")
    write("frame-far-right.gif", gif_of(10, 10, gif_frame(0, 0, 10, 10, longest_strings(100)), gif_frame(65535, 65535, 65, 65, longest_strings(4225))), "ok")
    write("first-frame-far-right.gif", gif_of(10, 10, gif_frame(65535, 65535, 65, 65, longest_strings(4225))), "side_too_long")
    write("clear-codes.gif", gif_of(100, 100, gif_frame(0, 0, 100, 100, bytes([0x24, 0x49, 0x92]) * 20_000), gif_frame(0, 0, 9, 9, longest_strings(81))), "ok", note="60 KB that draw nothing")
    write("frames-3000.webp", webp(vp8x(1, 1, 2), riff(b"ANIM", bytes(6)), *[anmf(vp8l(1, 1))] * 3000), "ok", "too_many_frames")
    write("progressive-400mpx.jpg", b"\xff\xd8" + TABLES + frame(0xc2, 20000, 20000, (0x22, 0x11, 0x11)), "too_many_pixels|corrupt_image")
    write("progressive-16mpx.jpg", progressive(4000, 4000, 5), "ok", note="held whole")
    write("scans-90.jpg", progressive(2048, 2048, 89), "ok", note="as many as are allowed, nearly")
    write("scans-300.jpg", progressive(1024, 1024, 299), "too_many_scans")
    ROWS.append(("../bomb-15000x15000-rgb.png", "too_many_pixels", "=", "225 Mpx"))
    # What the decoder at scale 1/8 does not skip, and what it looks through for a missing EOI marker.
    write("scans-63-chroma.jpg", progressive(4000, 4000, 63, 2)[:-2] + ends(1, 250_000) + ends(3, 62_500)
          + b"\xff\xd9", "ok")
    write("scans-90-unfinished.jpg", progressive(2048, 2048, 89)[:-2], "corrupt_image")
    write("restarts.jpg", restarts(1024, 1024), "ok", note="one after each MCU")
    write("tables.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 8, 8) + segment(0xc4, (b"\x10" + ONE_CODE) * 3600) * 3,
          "corrupt_image", note="10,800 tables, and no end")
    write("no-codes.jpg", b"\xff\xd8" + QUANTISATION + segment(0xc4, bytes(17) + b"\x10" + bytes(16)) + frame(0xc0, 800, 800)
          + segment(0xda, b"\x01\x01\0\0\x3f\0") + bytes(9000) + b"\xff\xd9", "ok|corrupt_image", note="tables without a code")
    write("run-of-ends.jpg", progressive(4000, 4000, 0)[:-2] + ends(1, 250_000) + ends(2, 62_500) + ends(3, 62_500)
          + b"\xff\xd9", "ok", note="runs that lead far behind the image")
    ROWS.append(("../many-scans.jpg", "too_many_scans", "=", "2000 scans"))

    # Absurd headers.
    write("zero.png", png(0, 0, b""), "corrupt_image")
    write("zero.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 0, 0) + segment(0xda, b"\x01\x01\0\0\x3f\0") + b"\x3f\xff\xd9", "corrupt_image")
    write("zero.gif", gif(0, 0, 0), "corrupt_image")
    write("zero.webp", webp(riff(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\0\0\0\0" + bytes(20))), "corrupt_image")
    write("largest.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 65535, 65535) + segment(0xda, b"\x01\x01\0\0\x3f\0"), "side_too_long")
    write("largest.webp", webp(vp8x(1 << 24, 1 << 24), vp8l(16, 16)), "side_too_long")
    write("long.png", png(1, 65501, bytes(2 * 65501)), "side_too_long")
    write("line.png", png(65500, 1, bytes(65501)), "ok")
    write("no-frame-header.jpg", b"\xff\xd8" + segment(0xfe, b"nothing else") + b"\xff\xd9", "corrupt_image")
    write("no-frames.gif", gif(10, 10, 0), "corrupt_image")
    write("no-data.png", png(8, 8, b""), "corrupt_image")
    write("no-picture.webp", webp(vp8x(8, 8), riff(b"EXIF", b"MM")), "corrupt_image")
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
    write("two-frame-headers.jpg", b"\xff\xd8" + TABLES + frame(0xc0, 8, 8) + frame(0xc2, 20000, 20000) + segment(0xda, b"\x01\x01\0\0\x3f\0") + b"\x3f\xff\xd9", "too_many_pixels")

    lines = ["file\tstill\tkept\tnote"] + ["\t".join(row) for row in sorted(ROWS)]
    (HERE / "MANIFEST.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
