#!/usr/bin/env bash
# Measures every encoder setting: bytes, CPU and similarity (SSIM). The server's settings are chosen from these tables
# (src/render/pipeline/encode.rs, quality.rs and palette.rs). Writes bench/results/encoders.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

RESULT=$RESULTS/encoders.md

[ -n "${TOOL:-}" ] || TOOL=$(build_program encoders)
photos=(examples/images/photo.jpg examples/images/seedling.webp examples/images/portrait.jpg)
# settings FORMAT SETTING…: the table of a format over the photographs.
settings() { "$TOOL" settings "$1" "$ROUNDS" "${@:2}" -- "${photos[@]}"; }

{
    cat <<MARKDOWN
# The encoders

bench/encoders.sh: the photographs of examples/images, resized once to 300, 800 and 1600 pixels of width where they
have as many, encoded with each setting, decoded, and compared with what went in. Bytes and CPU time are sums over
these six images (4.0 Mpx in all), the CPU time of the whole process, the median of $ROUNDS runs; SSIM (luma, 8 × 8
windows) and PSNR (three channels) are means. The last column decides: the bytes needed to reach the SSIM
of the first row, the geometric mean over the images. $(nproc) processors ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)),
Linux $(uname -r), $(date -u +%F), shared with other work: CPU times are good to about 5 %, bytes and SSIM repeat exactly.

## JPEG

$(settings jpg optimize_coding "" interlace interlace,subsample_mode=off)

By size, \`interlace\` (progressive) makes the 1600 pixels wide photograph 4 % smaller and those up to 800 pixels none, for
2.3 × the time. So a JPEG is progressive from 1.5 Mpx on, where it is also shown before it has arrived completely. Otherwise it
has optimised Huffman tables: 1.5 to 3.5 % fewer bytes for 2.5 ms a megapixel. Full colour resolution (4:4:4) is libvips'
choice from q=90 on.

## WebP

$(settings webp effort=4 effort=0 effort=2 effort=3 effort=5 effort=6 effort=4,smart_subsample effort=4,preset=photo)

The server uses effort 4: 2 takes half the time and 13 % more bytes; above 4 bytes hardly shrink and time grows. \`smart_subsample\` costs a
third and gains 0.15 dB of colours. (SSIM does not rise with every step of Q, so the first row itself is not 1.)

## AVIF

$(settings avif "" cpu-used=9 cpu-used=7 cpu-used=6 tune=iq cpu-used=9,tune=iq)

The first row is the server's: libaom 3.12.1, all-intra, \`cpu-used=8,tune=ssim\`. Speed 9 takes a quarter of the time for some 10 %
more bytes, and half as many again for text and drawings. At equal SSIM, \`tune=iq\` takes 7 to 12 % more bytes at
either speed; by SSIMULACRA2, measured once over 29 photographs, 5 % fewer at 300 × 200, as many at 800 × 600 and 4 % more at
1200 × 900, for 1.1 × the time. libaom 3.6.0 through libheif, which the server had before, takes the same bytes
(0.996 to 0.998) and 1.1 to 1.2 × the time.

## PNG

Photographs, as above:

$(settings png compression=6 compression=1 compression=3 compression=1,filter=sub compression=3,filter=up compression=1,filter=all compression=3,filter=all compression=6,filter=all)

An image with soft transparency:

$("$TOOL" settings png "$ROUNDS" compression=6 compression=3 compression=1,filter=all compression=3,filter=all compression=6,filter=all -- examples/images/transparent.png)

libvips' own choice is \`compression=6\` and no filter. \`compression=3,filter=all\` is 19 to 28 % smaller on photographs, for
1.1 to 1.3 × the time; a drawing with text, measured once, got 4 % larger. More compression on filtered rows makes
photographs larger (zlib's lazy matching looks for what filters have taken out). The server never quantises a PNG: the result
would lose colours. An original with a palette whose size is kept is served unchanged.

## GIF

Animations, decoded and encoded again at a width of 100 pixels:

$("$TOOL" gif "$ROUNDS" 100 effort=7 effort=3 effort=1 dither=0 interpalette_maxerror=256 interpalette_maxerror=256,dither=0 interframe_maxerror=8 -- tests/data/anim.gif examples/images/anim.gif)

\`effort\` does nothing: it is for libimagequant, and the palettes here are quantizr's. What takes the time is a palette for
each frame, so the server makes one palette for all frames from a sample of their pixels, if its mean error is small enough
(38 dB); otherwise libvips makes one for each frame. One palette from the first frame alone, which is what
\`interpalette_maxerror=256\` means, is wrong where a colour appears later (the second image). Without dithering, which such a
palette doesn't need, still areas stay the same from frame to frame: fewer bytes, and no flicker.

## One q for all formats

The quality at which WebP (effort 4) and AVIF have the mean SSIM of JPEG at q, the one that src/render/pipeline/quality.rs
uses, and the result. From q=10 to 98 the means differ by less than 0.01:

$("$TOOL" quality optimize_coding effort=4 cpu-used=8 -- "${photos[@]}")
MARKDOWN
    cat <<'MARKDOWN'

## Other codecs

Measured once, on 2026-11-23, with the same images, built with the flags of native/build.sh (mozjpeg as the crate
mozjpeg-sys 2.2.3 builds it):

| codec | instead of | bytes | SSIM | CPU | kept |
| --- | --- | --- | --- | --- | --- |
| libjpeg-turbo 3.1.0 | Debian's 2.1.5 | the same bytes | the same | encoding 0.97–1.2 ×, decoding 0.9–1.1 ×: noise | 2.1.5 |
| mozjpeg (trellis, optimised Huffman) | libjpeg-turbo | 0.98 × at equal SSIM | – | 9 × | libjpeg-turbo |
| mozjpeg (trellis, progressive) | libjpeg-turbo, progressive | 0.98 × at equal SSIM | – | 5.7 × | libjpeg-turbo |
| libwebp 1.5.0 | Debian's 1.2.4 | the same bytes | the same | 1.00–1.02 × | 1.2.4 |

libwebp and libjpeg-turbo are Debian's archives: a new build picks up their security updates (native/build.sh upgrades the
packages).
MARKDOWN
} >"$work/encoders.md"
mkdir -p "$RESULTS"
mv "$work/encoders.md" "$RESULT"
cat "$RESULT"
