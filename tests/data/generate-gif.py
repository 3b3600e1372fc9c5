#!/usr/bin/env python3
"""Writes the GIFs of gif/ beside this script, and gif/MANIFEST.tsv, which says what browsers show of them.

Standard library only, and the same bytes each time. Columns of MANIFEST.tsv: file; how its data ends (`ok`, `short`,
`damaged`, `truncated`: the file ends within a frame); the canvas after each frame, separated by spaces. Rows of a canvas
are separated by `|`; a pixel is W (white), R, G, B, K (black) or `.` (transparent).

The canvases are those of Chromium 156: `generate-gif.py --chromium` asks the installed Chromium (ImageDecoder) and prints
the differences. Of files that are not `ok`, Chromium shows the first frame as far as it goes and stops; the canvases are
what the server shows with `"fail_on": "none"`.
"""

import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "gif"
WHITE, RED, GREEN, BLUE = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
# The background index is 0, white, which nobody paints.
TABLE = [WHITE, RED, GREEN, BLUE]
END = b";"


def codes(numbers, width):
    """Codes of one width, the lowest bits first."""
    bits = sum(number << width * at for at, number in enumerate(numbers))
    return bits.to_bytes((width * len(numbers) + 7) // 8, "little")


def lzw(pixels, size):
    """A clear code before every second pixel, so that codes never grow; then the end code."""
    numbers = []
    for at, pixel in enumerate(pixels):
        numbers += [1 << size, pixel] if at % 2 == 0 else [pixel]
    return codes(numbers + [(1 << size) + 1], size + 1)


def blocks(data):
    parts = [data[at:at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def padded(table):
    bits = 0
    while 2 << bits < len(table):
        bits += 1
    return bits, b"".join(bytes(colour) for colour in table) + bytes(3 * ((2 << bits) - len(table)))


def screen(width=4, height=4, table=TABLE, version=b"GIF89a"):
    if table is None:
        return version + struct.pack("<HHBBB", width, height, 0, 0, 0)
    bits, colours = padded(table)
    return version + struct.pack("<HHBBB", width, height, 0x80 | bits, 0, 0) + colours


def control(disposal=0, transparent=None, delay=10):
    flags = disposal << 2 | (transparent is not None)
    return b"\x21\xf9\x04" + struct.pack("<BHBB", flags, delay, transparent or 0, 0)


def image(area, pixels, size=2, table=None, flags=0, data=None):
    """A frame in this area: left, top, width, height. One pixel stands for all."""
    left, top, width, height = area
    pixels = [pixels] * (width * height) if isinstance(pixels, int) else pixels
    bits, colours = (0x80 | padded(table)[0], padded(table)[1]) if table else (0, b"")
    data = lzw(pixels, size) if data is None else data
    return b"," + struct.pack("<HHHHB", left, top, width, height, flags | bits) + colours + bytes([size]) + blocks(data)


ALL, MIDDLE, CORNER = (0, 0, 4, 4), (1, 1, 2, 2), (3, 3, 1, 1)


def frame(area, pixels, disposal=0, transparent=None, **more):
    return control(disposal, transparent) + image(area, pixels, **more)


def cases():
    red, last = frame(ALL, 1), frame(CORNER, 3, 1)
    whole_red, green_middle = "RRRR|RRRR|RRRR|RRRR", "RRRR|RGGR|RGGR|RRRR"
    only_middle = "....|.GG.|.GG.|...."
    yield "clear", "ok", screen() + red + frame(MIDDLE, 2, 2) + last + END, [whole_red, green_middle, "RRRR|R..R|R..R|RRRB"]
    yield "clear-first", "ok", screen() + frame(ALL, 1, 2) + frame(MIDDLE, 2, 1) + END, [whole_red, only_middle]
    yield "restore", "ok", screen() + red + frame(MIDDLE, 2, 3) + last + END, [whole_red, green_middle, "RRRR|RRRR|RRRR|RRRB"]
    yield "restore-4", "ok", screen() + red + frame(MIDDLE, 2, 4) + last + END, [whole_red, green_middle, "RRRR|RRRR|RRRR|RRRB"]
    yield "restore-first", "ok", screen() + frame(ALL, 1, 3) + frame(MIDDLE, 2, 1) + END, [whole_red, only_middle]
    yield "restore-after-clear", "ok", screen() + frame(ALL, 1, 2) + frame(MIDDLE, 2, 3) + last + END, [whole_red, only_middle, "....|....|....|...B"]
    yield "restore-twice", "ok", screen() + red + frame(MIDDLE, 2, 3) + frame((2, 2, 2, 2), 3, 3) + frame((0, 0, 1, 1), 0, 1) + END, [whole_red, green_middle, "RRRR|RRRR|RRBB|RRBB", "WRRR|RRRR|RRRR|RRRR"]
    yield "restore-then-clear", "ok", screen() + red + frame((0, 0, 3, 3), 2, 3) + frame((2, 2, 2, 2), 3, 2) + frame((0, 0, 1, 1), 0, 1) + END, [whole_red, "GGGR|GGGR|GGGR|RRRR", "RRRR|RRRR|RRBB|RRBB", "WRRR|RRRR|RR..|RR.."]
    yield "keep-5", "ok", screen() + red + frame(MIDDLE, 2, 5) + last + END, [whole_red, green_middle, "RRRR|RGGR|RGGR|RRRB"]
    yield "keep-7", "ok", screen() + red + frame(MIDDLE, 2, 7) + last + END, [whole_red, green_middle, "RRRR|RGGR|RGGR|RRRB"]
    yield "87a", "ok", screen(version=b"GIF87a") + red + frame(MIDDLE, 2, 2) + last + END, [whole_red, green_middle, "RRRR|R..R|R..R|RRRB"]

    yield "first-in-middle", "ok", screen() + frame(MIDDLE, 1) + last + END, ["....|.RR.|.RR.|....", "....|.RR.|.RR.|...B"]
    yield "first-larger", "ok", screen() + frame((2, 2, 6, 5), 1) + frame(MIDDLE, 2) + END, ["........|........|..RRRRRR|..RRRRRR|..RRRRRR|..RRRRRR|..RRRRRR", "........|.GG.....|.GGRRRRR|..RRRRRR|..RRRRRR|..RRRRRR|..RRRRRR"]
    yield "second-larger", "ok", screen() + red + frame((0, 0, 6, 6), 2) + END, [whole_red, "GGGG|GGGG|GGGG|GGGG"]
    yield "second-outside", "ok", screen() + red + frame((9, 9, 2, 2), 2) + frame(MIDDLE, 3) + END, [whole_red, whole_red, "RRRR|RBBR|RBBR|RRRR"]
    yield "second-overhangs", "ok", screen() + red + frame((2, 3, 4, 4), [1, 2, 3, 2] * 4, 2) + frame((0, 0, 1, 1), 3) + END, [whole_red, "RRRR|RRRR|RRRR|RRRG", "BRRR|RRRR|RRRR|RR.."]
    yield "no-screen", "ok", screen(0, 0) + frame((0, 0, 3, 2), 1) + frame((0, 0, 2, 2), 2) + END, ["RRR|RRR", "GGR|GGR"]
    yield "no-screen-width", "ok", screen(0, 4) + frame((0, 0, 3, 2), 1) + END, ["RRR|RRR|...|..."]
    yield "empty-frame", "ok", screen() + red + frame((1, 1, 0, 2), []) + frame(MIDDLE, 3) + END, [whole_red, whole_red, "RRRR|RBBR|RBBR|RRRR"]
    yield "empty-first-frame", "ok", screen() + frame((0, 0, 0, 0), []) + frame(MIDDLE, 3) + END, ["....|....|....|....", "....|.BB.|.BB.|...."]

    yield "no-table", "ok", screen(table=None) + frame(ALL, [0, 1, 2, 3] * 4) + frame(MIDDLE, 1, table=TABLE) + END, ["KKKK|KKKK|KKKK|KKKK", "KKKK|KRRK|KRRK|KKKK"]
    yield "beyond-table", "ok", screen(table=[WHITE, RED]) + frame(ALL, [0, 1, 2, 3] * 4) + END, ["WRKK|WRKK|WRKK|WRKK"]
    yield "transparent-beyond-table", "ok", screen(table=[WHITE, RED]) + frame(ALL, 1) + frame(ALL, [0, 1, 2, 3] * 4, 1, 3) + END, [whole_red, "WRKR|WRKR|WRKR|WRKR"]
    yield "transparent-unused", "ok", screen(table=[WHITE, RED]) + frame(ALL, [0, 1] * 8, 0, 9) + END, ["WRWR|WRWR|WRWR|WRWR"]
    yield "transparent", "ok", screen() + frame(ALL, [0, 1] * 8, 0, 0) + frame(ALL, [1, 2] * 8, 0, 1) + END, [".R.R|.R.R|.R.R|.R.R", ".G.G|.G.G|.G.G|.G.G"]
    yield "interlaced", "ok", screen(4, 9) + frame((0, 0, 4, 9), [pixel for row in (1, 2, 3) * 3 for pixel in [row] * 4], flags=0x40) + END, ["RRRR|BBBB|RRRR|RRRR|BBBB|GGGG|GGGG|BBBB|GGGG"]
    yield "code-size-1", "ok", screen() + frame(ALL, 1, size=1, data=bytes.fromhex("c6fa31")) + END, [whole_red]
    yield "code-size-8", "ok", screen() + frame(ALL, [0, 1] * 8, size=8) + frame(MIDDLE, 2) + END, ["WRWR|WRWR|WRWR|WRWR", "WRWR|WGGR|WGGR|WRWR"]
    yield "no-clear-code", "ok", screen() + frame(ALL, 1, data=codes([1, 1, 4] + [1, 1, 4] * 8 + [5], 3)) + frame(MIDDLE, 2) + END, [whole_red, green_middle]
    yield "more-data", "ok", screen() + frame(ALL, 1, data=lzw([1] * 36, 2)) + frame(MIDDLE, 2) + END, [whole_red, green_middle]
    yield "no-trailer", "ok", screen() + red + frame(MIDDLE, 2), [whole_red, green_middle]
    yield "unknown-block", "ok", screen() + red + b"U" + frame(MIDDLE, 2) + END, [whole_red]
    yield "after-trailer", "ok", screen() + red + END + frame(MIDDLE, 2) + END, [whole_red]
    yield "no-control", "ok", screen() + image(ALL, 1) + image(MIDDLE, 2) + END, [whole_red, green_middle]

    half = lzw([1] * 8, 2)
    yield "short", "short", screen() + frame(ALL, 3) + frame(ALL, 1, data=half) + frame(MIDDLE, 2) + END, ["BBBB|BBBB|BBBB|BBBB", "RRRR|RRRR|BBBB|BBBB", "RRRR|RGGR|BGGB|BBBB"]
    yield "short-first", "short", screen() + frame(ALL, 1, data=half) + frame(MIDDLE, 2) + END, ["RRRR|RRRR|....|....", "RRRR|RGGR|.GG.|...."]
    yield "short-interlaced", "short", screen() + frame(ALL, 1, data=half, flags=0x40) + END, ["RRRR|....|RRRR|...."]
    yield "no-data", "short", screen() + red + frame(ALL, 2, data=b"") + END, [whole_red, whole_red]
    yield "bad-code", "damaged", screen() + frame(ALL, 3) + frame(ALL, 1, data=codes([4, 1, 1, 4, 1, 7, 1, 1], 3)) + END, ["BBBB|BBBB|BBBB|BBBB", "RRRB|BBBB|BBBB|BBBB"]
    yield "bad-first-code", "damaged", screen() + frame(ALL, 1, data=codes([7, 1, 4] + [1, 1, 4] * 8 + [5], 3)) + END, ["....|....|....|...."]
    yield "code-size-9", "damaged", screen() + red + frame(ALL, 2, size=9) + END, [whole_red, whole_red]
    yield "cut", "truncated", (screen() + red + frame(ALL, 2))[:-4], [whole_red, "GGGG|GGGG|GGGG|RRRR"]


def ask_chromium(files):
    """What ImageDecoder makes of each file: a list of canvases, which ends where it fails."""
    import base64
    import http.server
    import json
    import subprocess
    import tempfile
    import threading

    page = """<script>
const files = %s, names = {'255,255,255,255': 'W', '255,0,0,255': 'R', '0,255,0,255': 'G', '0,0,255,255': 'B', '0,0,0,255': 'K', '0,0,0,0': '.'};
async function shown(text) {
  const canvases = [];
  try {
    const decoder = new ImageDecoder({data: Uint8Array.from(atob(text), c => c.charCodeAt(0)), type: 'image/gif'});
    await decoder.tracks.ready;
    await decoder.completed;
    for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex++) {
      const {image} = await decoder.decode({frameIndex});
      const [w, h] = [image.displayWidth, image.displayHeight], context = new OffscreenCanvas(w, h).getContext('2d');
      context.drawImage(image, 0, 0);
      const data = context.getImageData(0, 0, w, h).data, rows = [];
      for (let y = 0; y < h; y++) rows.push([...Array(w).keys()].map(x => names[data.slice((y * w + x) * 4, (y * w + x) * 4 + 4).join()] || '?').join(''));
      canvases.push(rows.join('|'));
    }
  } catch (error) {}
  return canvases;
}
(async () => {
  const result = {};
  for (const name in files) result[name] = await shown(files[name]);
  fetch('/', {method: 'POST', body: JSON.stringify(result)});
})();
</script>""" % json.dumps({name: base64.b64encode(data).decode() for name, data in files.items()})
    result, done = {}, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self):
            result.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        chromium = subprocess.Popen(["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done.wait(60)
        chromium.terminate()
        chromium.wait()
    return result


def main():
    all_cases = list(cases())
    if "--chromium" in sys.argv:
        shown = ask_chromium({name: data for name, _, data, _ in all_cases})
        for name, end, _, canvases in all_cases:
            found = shown.get(name)
            same = found == canvases if end == "ok" else found is not None and found == canvases[:len(found)]
            print(name, "is shown as expected" if same else f"is shown as {found}, not {canvases}")
        return
    HERE.mkdir(exist_ok=True)
    lines = ["file\tdata\tcanvases"]
    for name, end, data, canvases in all_cases:
        (HERE / f"{name}.gif").write_bytes(data)
        lines.append(f"{name}.gif\t{end}\t{' '.join(canvases)}")
    (HERE / "MANIFEST.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
