#!/usr/bin/env bash
# Measures every encoder setting: bytes, CPU and similarity (SSIM and SSIMULACRA2). The server's settings are chosen from these tables
# (src/render/pipeline/encode.rs, quality.rs and palette.rs). Writes bench/results/encoders.md. With the path of the program that
# bench/jxl/build.sh makes in $JXL, JPEG XL is measured too.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

RESULT=$RESULTS/encoders.md

[ -n "${TOOL:-}" ] || TOOL=$(build_program encoders)
# Its dependencies are not among those of the server: it is a package of its own.
if [ -z "${SSIMULACRA2:-}" ]; then
    SSIMULACRA2=$(cargo build --release --locked --manifest-path bench/ssimulacra2/Cargo.toml --target-dir target/ssimulacra2 \
        --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
fi
export SSIMULACRA2
# More photographs can be given as arguments.
photos=(examples/images/photo.jpg examples/images/seedling.webp examples/images/portrait.jpg "$@")
# settings FORMAT SETTING…: the table of a format over the photographs.
settings() { "$TOOL" settings "$1" "$ROUNDS" "${@:2}" -- "${photos[@]}"; }

{
    cat <<MARKDOWN
# The encoders

bench/encoders.sh: the photographs of examples/images, resized once to 300, 800 and 1600 pixels of width where they
have as many, encoded with each setting, decoded, and compared with what went in. Bytes and CPU time are sums over
these six images (4.0 Mpx in all), the CPU time of the whole process, the median of $ROUNDS runs; SSIM (luma, 8 × 8
windows), PSNR (three channels) and SSIMULACRA2 are means. The last columns decide: the bytes needed to reach the SSIM, and
the SSIMULACRA2, of the first row, the geometric mean over the images. $(nproc) processors ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)),
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

Settings of libwebp itself, measured once, on 2026-11-29, over 15 photographs at 300 pixels and 4 at 800: the bytes at the
SSIMULACRA2 and the SSIM that effort 4 has at q=62 and 73, geometric means.

| setting | bytes at equal SSIMULACRA2: 300, 800 | at equal SSIM: 300, 800 | CPU |
| --- | --- | --- | --- |
| effort 4 | 1.000, 1.000 | 1.000, 1.000 | 1.00 |
| effort 3 | 1.000, 1.006 | 1.000, 1.004 | 1.01 |
| effort 2 | 1.049, 1.018 | 1.093, 1.098 | 0.42 |
| effort 1 | 1.170, 1.153 | 1.275, 1.275 | 0.28 |
| effort 0 | 1.253, 1.297 | 1.359, 1.430 | 0.28 |
| effort 4, one segment | 1.059, 1.110 | 1.047, 1.068 | 0.84 |
| effort 4, \`sns_strength\` 25 | 0.996, 1.013 | 0.993, 1.010 | 1.04 |
| effort 4, \`sns_strength\` 0 | 1.022, 1.068 | 1.012, 1.036 | 1.03 |
| effort 4, \`filter_strength\` 30 | 1.001, 0.998 | 1.016, 1.005 | 0.99 |
| effort 4, \`filter_strength\` 0 | 1.019, 1.020 | 1.113, 1.080 | 1.10 |
| effort 4, preset photo | 1.025, 1.001 | 1.034, 1.005 | 1.11 |
| effort 2, \`sns_strength\` 25 | 1.043, 1.025 | 1.107, 1.108 | 0.41 |
| effort 2, \`sns_strength\` 80 | 1.088, 1.038 | 1.117, 1.116 | 0.59 |
| effort 2, \`filter_strength\` 30 | 1.074, 1.045 | 1.222, 1.158 | 0.50 |
| effort 2, preset photo | 1.109, 1.088 | 1.239, 1.186 | 0.44 |
| effort 2, \`use_sharp_yuv\` | 1.050, 1.025 | 1.067, 1.096 | 0.54 |
| effort 2, two passes | 1.052, 1.026 | 1.070, 1.097 | 0.63 |

At 1600 pixels, over 6 photographs, effort 2 takes 4.5 % more bytes by SSIMULACRA2 and 14 % by SSIM. So nothing is cheaper
at equal bytes.

## AVIF

$(settings avif "" cpu-used=8 cpu-used=9 tune=ssim cpu-used=8,tune=ssim cpu-used=9,tune=ssim)

The first row is the server's: libaom 3.12.1, all-intra, \`tune=iq\`; \`cpu-used\` is 8 for images in which at least a quarter of
all samples of luma are like their neighbour (smooth areas, drawings, text), and 9 for others
(src/render/codec/avif/effort.rs).

Measured once, on 2026-11-29, over 15 photographs (Debian's lomiri-wallpapers-16.04) at 300 pixels of width and 8 at 800, at
three qualities, around q=40, 62 and 77 (libheif: 8 and 3 photographs; SVT-AV1: 13 and 7): bytes by SSIMULACRA2 and by SSIM at those of
the first row, and CPU time at equal SSIMULACRA2, as geometric means; the server's CPU time as a sum. CPU times are good to
about 10 %.

| encoder | 300: bytes by SSIMULACRA2 | by SSIM | CPU | 800: bytes by SSIMULACRA2 | by SSIM | CPU |
| --- | --- | --- | --- | --- | --- | --- |
| libaom 3.12.1, \`cpu-used=8,tune=ssim\` | 1.000 | 1.000 | 1.00 | 1.000 | 1.000 | 1.00 |
| libheif 1.15.1 with libaom 3.6.0, \`effort=1\` | 1.005 | 1.006 | – | 1.008 | 1.007 | – |
| libaom 3.12.1, \`cpu-used=9,tune=ssim\` | 1.128 | 1.144 | 0.28 | 1.110 | 1.134 | 0.26 |
| libaom 3.12.1, \`cpu-used=8,tune=iq\` | 0.927 | 1.091 | 1.06 | 0.895 | 1.101 | 1.19 |
| libaom 3.12.1, \`cpu-used=9,tune=iq\` | 1.036 | 1.231 | 0.32 | 0.984 | 1.217 | 0.27 |
| **the server's choice of the two** | **0.992** | **1.150** | **0.40** | **0.961** | **1.165** | **0.27** |
| libaom 3.14.1, \`cpu-used=8,tune=iq\` | 0.939 | 1.076 | 0.97 | 0.906 | 1.075 | 1.03 |
| libaom 3.14.1, \`cpu-used=9,tune=iq\` | 1.037 | 1.151 | 0.27 | 0.984 | 1.146 | 0.29 |
| libaom 3.14.1, \`cpu-used=9,tune=ssimulacra2\` | 1.004 | 1.240 | 0.30 | 0.953 | 1.217 | 0.29 |
| SVT-AV1 4.1.0, preset 7, \`tune=3\` (IQ), \`avif=1,lp=1\` | 0.982 | 1.094 | 0.68 | 0.925 | 1.075 | 0.64 |
| SVT-AV1 4.1.0, preset 8, \`tune=3\` | 1.024 | 1.136 | 0.49 | 0.955 | 1.111 | 0.35 |
| SVT-AV1 4.1.0, preset 9, \`tune=3\` | 1.043 | 1.167 | 0.43 | 0.984 | 1.149 | 0.27 |

At 1600, three of the photographs with the server's choice take 0.97, 0.91 and 1.04 × the bytes by SSIMULACRA2.

By image, \`cpu-used=9,tune=iq\` takes 0.8 to 1.0 × the bytes for texture (rock, leaves, crowds) and 1.05 to 1.35 × for a sharp
subject before a smooth ground; the smoother it is, the more. Smooth images have few coefficients: at 8 they take a third of the
time of others. SVT-AV1 starts 16 threads for each image, also with \`lp=1\`, takes 3 ms for an image of 300 × 169 without
detail, and has no preset above 9 for still images. For five screenshots and drawings at two sizes:

| encoder | 300: bytes by SSIMULACRA2 | by SSIM | CPU | 800: bytes by SSIMULACRA2 | by SSIM | CPU |
| --- | --- | --- | --- | --- | --- | --- |
| libaom 3.12.1, \`cpu-used=8,tune=ssim\` | 1.000 | 1.000 | 1.00 | 1.000 | 1.000 | 1.00 |
| libaom 3.12.1, \`cpu-used=8,tune=iq\`: **the server's** | **0.957** | **1.045** | **1.11** | **0.942** | **1.020** | **1.09** |
| libaom 3.14.1, \`cpu-used=9,tune=iq\` | 1.439 | 1.873 | 0.30 | 1.738 | 1.794 | 0.35 |

With \`cpu-used=9,tune=iq\` over 8 of the photographs at 300, \`enable-cdef=1\`, \`sharpness=4\`, \`qm-min=4\` and \`qm-max=8\` change
bytes and SSIMULACRA2 by less than 0.5 %; \`enable-chroma-deltaq=0\` costs 1 % by SSIMULACRA2.

## PNG

Photographs, as above:

$(settings png compression=6 compression=1 compression=3 compression=1,filter=sub compression=3,filter=up compression=1,filter=all compression=3,filter=all compression=6,filter=all)

An image with soft transparency:

$("$TOOL" settings png "$ROUNDS" compression=6 compression=3 compression=1,filter=all compression=3,filter=all compression=6,filter=all -- examples/images/transparent.png)

libvips' own choice is \`compression=6\` and no filter. \`compression=3,filter=all\` is 19 to 28 % smaller on photographs, for
1.1 to 1.3 × the time; a drawing with text, measured once, got 4 % larger. With zlib, more compression on filtered rows made
photographs larger (its lazy matching looks for what filters have taken out). The server never quantises a PNG: the result
would lose colours. An original with a palette whose size is kept is served unchanged.

## GIF

Measured once, on 2026-11-29, with libvips 8.16.1, cgif 0.5.0 and quantizr 1.4: the animations tests/data/anim.gif and
examples/images/anim.gif, decoded and encoded again at a width of 100 pixels.

| image | setting | bytes | × | CPU ms, encoding | SSIM | PSNR dB |
| --- | --- | --- | --- | --- | --- | --- |
| tests | a palette for each frame | 64679 | 1.00 | 37.5 | 0.9768 | 42.08 |
| tests | … \`dither=0\` | 52388 | 0.81 | 34.2 | 0.9995 | 43.06 |
| tests | the palette of the first frame | 39351 | 0.61 | 40.7 | 0.9705 | 30.57 |
| tests | … \`dither=0\` | 26226 | 0.41 | 27.8 | 0.9962 | 30.63 |
| tests | a palette for each frame, \`interframe_maxerror=8\` | 52495 | 0.81 | 44.7 | 0.9796 | 36.46 |
| examples | a palette for each frame | 86419 | 1.00 | 51.0 | 0.9969 | 47.19 |
| examples | … \`dither=0\` | 79916 | 0.92 | 46.2 | 0.9985 | 47.97 |
| examples | the palette of the first frame | 42970 | 0.50 | 41.3 | 0.9176 | 16.56 |
| examples | … \`dither=0\` | 33982 | 0.39 | 29.9 | 0.9427 | 16.57 |
| examples | a palette for each frame, \`interframe_maxerror=8\` | 69825 | 0.81 | 47.5 | 0.9934 | 42.22 |

The server makes one palette for all frames from a sample of their pixels, if its mean error is small enough (38 dB);
otherwise each frame gets its own. One palette from the first frame alone is wrong where a colour appears later (the second
animation). Without dithering, which such a palette doesn't need, still areas stay the same from frame to frame: fewer bytes,
and no flicker.

## One q for all formats

The quality at which WebP (effort 4) has the mean SSIM of JPEG at q, and AVIF its mean SSIMULACRA2; the one that
src/render/pipeline/quality.rs uses, and the result:

$("$TOOL" quality optimize_coding effort=4 tune=iq -- "${photos[@]}")

AVIF's qualities were fitted once to 19 images (the photographs above, 4 of them at 800 as well): to one half of them, checked
on the other, and then to all. At 90 and above both are 4:4:4.

| q | JPEG SSIMULACRA2 | fitted to one half | error on the other half | fitted to all | error | mean error of an image | bytes × JPEG |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 10 | −2.5 | 14 | +5.3 | 12 | −1.5 | 12.3 | 0.42 |
| 20 | 36.4 | 31 | +2.2 | 31 | +0.5 | 6.5 | 0.56 |
| 30 | 51.6 | 41 | +2.0 | 41 | +1.1 | 4.7 | 0.64 |
| 40 | 59.7 | 46 | +0.5 | 46 | −0.1 | 3.7 | 0.65 |
| 50 | 64.8 | 52 | +1.6 | 51 | −0.5 | 2.8 | 0.68 |
| 60 | 68.5 | 55 | +1.0 | 55 | +0.6 | 2.4 | 0.71 |
| 70 | 73.2 | 62 | +0.8 | 60 | −0.6 | 1.8 | 0.70 |
| 75 | 75.5 | 65 | +0.8 | 63 | −0.6 | 1.6 | 0.70 |
| 80 | 78.2 | 70 | +0.1 | 70 | −0.1 | 1.3 | 0.72 |
| 85 | 81.0 | 76 | +0.1 | 76 | 0.0 | 1.0 | 0.73 |
| 90 | 88.1 | 85 | +0.3 | 85 | +0.2 | 0.8 | 0.77 |
| 95 | 92.0 | 93 | +0.2 | 93 | +0.1 | 0.5 | 0.84 |
| 98 | 94.6 | 98 | +0.3 | 98 | +0.2 | 0.3 | 1.07 |

JPEG XL's, on libjxl's own scale, were fitted once, on 2026-11-30, to five images: photo.jpg and seedling.webp at
300 and 800 pixels, and portrait.jpg at 300, decoded by jxl-oxide 0.12. Nothing is as coarse as a JPEG at q=1.

| q | JPEG SSIMULACRA2 | JPEG XL | error | mean error of an image | bytes × JPEG |
| --- | --- | --- | --- | --- | --- |
| 1 | −63.4 | 1 | +55.4 | 55.4 | 1.47 |
| 10 | −3.0 | 3 | +0.6 | 6.0 | 0.62 |
| 15 | 22.3 | 13 | +1.4 | 3.6 | 0.69 |
| 20 | 37.2 | 20 | +1.8 | 3.0 | 0.74 |
| 30 | 52.8 | 33 | +0.4 | 2.1 | 0.77 |
| 40 | 60.9 | 49 | +0.0 | 0.9 | 0.78 |
| 50 | 66.0 | 58 | +0.2 | 0.4 | 0.78 |
| 60 | 69.9 | 64 | −0.4 | 0.4 | 0.76 |
| 70 | 74.3 | 72 | −0.1 | 0.2 | 0.76 |
| 75 | 76.7 | 76 | −0.2 | 0.4 | 0.75 |
| 80 | 79.5 | 81 | +0.3 | 0.5 | 0.77 |
| 85 | 82.3 | 84 | +0.7 | 0.7 | 0.77 |
| 90 | 87.8 | 90 | −0.3 | 0.4 | 0.63 |
| 95 | 91.5 | 95 | −0.1 | 0.5 | 0.62 |
| 98 | 93.9 | 98 | +0.3 | 0.7 | 0.60 |
| 100 | 94.8 | 100 | +1.4 | 1.4 | 0.64 |
MARKDOWN
    cat <<'MARKDOWN'

## JPEG XL

Measured once, on 2026-11-30, with libjxl 0.12.0 (bench/jxl/build.sh: AVX2, one thread) on a busy machine, so that CPU times
are good to about 20 %: the three photographs of examples/images and five of Debian's lomiri-wallpapers-16.04 (at 1600 pixels:
photo.jpg and two of the five). The reference is the server's AVIF at q=75; WebP has the server's effort. Bytes are geometric
means.

| width, photographs | encoder | bytes at equal SSIMULACRA2 | CPU ms a megapixel | bytes at equal SSIM | CPU ms a megapixel |
| --- | --- | --- | --- | --- | --- |
| 300, 8 | AVIF (the server's) | 1.000 | 106 | 1.000 | 106 |
| 300, 8 | WebP (the server's) | 1.111 | 94 | 1.039 | 93 |
| 300, 8 | JPEG XL, effort 1 | 1.112 | 98 | 1.228 | 82 |
| 300, 8 | JPEG XL, effort 3 | 1.042 | 63 | 1.153 | 52 |
| 300, 8 | JPEG XL, effort 4 | 1.059 | 55 | 1.179 | 56 |
| 300, 8 | JPEG XL, effort 5 | 1.074 | 216 | 1.064 | 214 |
| 800, 7 | AVIF | 1.000 | 132 | 1.000 | 135 |
| 800, 7 | WebP | 1.093 | 75 | 1.038 | 74 |
| 800, 7 | JPEG XL, effort 1 | 1.026 | 50 | 1.176 | 47 |
| 800, 7 | JPEG XL, effort 3 | 0.926 | 52 | 1.072 | 51 |
| 800, 7 | JPEG XL, effort 4 | 0.936 | 54 | 1.114 | 49 |
| 1600, 3 | AVIF | 1.000 | 73 | 1.000 | 72 |
| 1600, 3 | JPEG XL, effort 3 | 1.068 | 45 | 1.173 | 39 |
| 1600, 3 | WebP | 1.249 | 74 | 1.095 | 72 |

Efforts 1 and 2 make the same lossy file, and 4 is no better than 3. Effort 5 takes four times as long. Photographs differ: for
the three that are measured at 1600 pixels, effort 3 takes 1.09 × the bytes of AVIF at 800 pixels too.

Without loss, bytes and CPU time:

| image | PNG, filters | WebP `lossless` | JPEG XL effort 1 | effort 2 | effort 3 |
| --- | --- | --- | --- | --- | --- |
| photo.jpg, 1600 | 3216.0 KB, 147 ms | 2112.1 KB, 864 ms | 2322.5 KB, 8 ms | 2136.4 KB, 162 ms | 1982.1 KB, 353 ms |
| photo.jpg, 800 | 857.5 KB, 39 ms | 583.0 KB, 243 ms | 642.4 KB, 2 ms | 596.5 KB, 42 ms | 548.4 KB, 91 ms |
| photo.jpg, 300 | 128.9 KB, 7 ms | 96.8 KB, 64 ms | 106.8 KB, 4 ms | 101.3 KB, 8 ms | 94.0 KB, 12 ms |
| seedling.webp, 800 | 375.4 KB, 25 ms | 254.8 KB, 195 ms | 289.3 KB, 2 ms | 273.5 KB, 25 ms | 274.0 KB, 58 ms |
| portrait.jpg, 300 | 108.2 KB, 6 ms | 74.1 KB, 54 ms | 89.0 KB, 1 ms | 77.6 KB, 5 ms | 68.6 KB, 12 ms |
| a screenshot with a photograph, 800 | 430.1 KB, 31 ms | 263.3 KB, 243 ms | 315.5 KB, 2 ms | 301.8 KB, 48 ms | 269.2 KB, 105 ms |
| a screenshot with text, 800 | 200.8 KB, 23 ms | 117.7 KB, 244 ms | 172.1 KB, 2 ms | 161.0 KB, 43 ms | 138.4 KB, 99 ms |

Effort 1 takes 14 to 28 % fewer bytes than PNG, in a tenth of the time or less (4 ms of photo.jpg at 300 pixels are a cold start).
Effort 3 takes 0.2 to 0.4 of the time of lossless WebP, and 3 to 7 % fewer bytes for photographs, unless they had been a lossy
WebP. Screenshots are smallest as lossless WebP.

The encoder allocates 42 to 46 bytes a pixel at 1600 pixels of width, 56 to 61 at 800 and 130 at 300 (WebP 10, AVIF 28);
without loss 45 at effort 3. A static program that only encodes has 3.2 MB more than one without libjxl, brotli, skcms and
highway (baseline and AVX2; -O2, unused sections dropped). The server's libjxl has one effort, with which neither its decoder
nor butteraugli are linked, and no brotli and skcms (native/patches/libjxl-encoder-only.patch): 1.0 MB. As the server calls
it, an image takes 5 to 7 MB at 300 × 225, 20 MB at 800 × 600 (with transparency 26), 75 MB (100) at 1600 × 1200 and 250 MB
(315) at 6000 × 4000, which is encoded in pieces; and as much without loss.

So by SSIMULACRA2 effort 3 is in front of WebP in bytes and CPU time at every width; by SSIM it takes 3 to 11 % more bytes
than WebP. By SSIMULACRA2 it takes 0.93 to 1.09 × the bytes of AVIF for 0.4 to 0.6 of the CPU time; the 1600 pixels are those
of three photographs, at effort 3 only. Without loss, nothing else is as small in comparable time for photographs. Of
browsers, Safari shows it since version 17. So it is a format of its own, \`f=jxl\` with effort 3, and \`f=auto\` may
choose it for clients whose \`Accept\` names \`image/jxl\`.
MARKDOWN
    if [ -n "${JXL:-}" ]; then
        cat <<MARKDOWN

The photographs of examples/images alone, measured with this page:

$("$TOOL" formats 75 1 avif: webp:effort=4 jxl:effort=1 jxl:effort=2 jxl:effort=3 jxl:effort=4 jxl:effort=5 -- "${photos[@]}")

$("$TOOL" lossless "$ROUNDS" png:compression=3,filter=all webp:lossless jxl:lossless,effort=1 jxl:lossless,effort=2 jxl:lossless,effort=3 jxl:lossless,effort=4 jxl:lossless,effort=5 -- "${photos[@]}")

$("$TOOL" memory effort=1 effort=2 effort=3 effort=4 effort=5 -- "${photos[@]}")
MARKDOWN
    fi
    cat <<'MARKDOWN'

## Animated AVIF

Measured once, on 2026-11-30, with libavif 1.4.2 and libaom 3.14.1 (real-time usage, `cpu-used=9`, one thread, 4:2:0) at
quality 63, and libwebp 1.6.0 (effort 4, no key frames but the first) at quality 73, which are those of q=75:
tests/data/anim.gif and examples/images/anim.gif, and 40 frames of a camera that moves over photo.jpg, with 256 dithered
colours as in a GIF and without. Bytes and CPU time as multiples of WebP's.

| animation | WebP KB | AVIF at q=75: bytes | CPU | mean SSIM of WebP, AVIF |
| --- | --- | --- | --- | --- |
| tests, 245 × 245, 42 frames | 36.8 | 0.46 | 0.65 | 0.959, 0.999 |
| tests, 120 × 120 | 19.6 | 0.46 | 1.13 | 0.955, 0.997 |
| examples, 320 × 240, 34 frames | 45.3 | 0.56 | 0.67 | 0.936, 0.992 |
| examples, 160 × 120 | 20.5 | 0.56 | 0.89 | 0.926, 0.991 |
| film of 256 colours, 300 × 225, 40 frames | 362.3 | 0.30 | 0.58 | 0.949, 0.954 |
| film, 300 × 225, 40 frames | 364.9 | 0.29 | 0.54 | 0.948, 0.955 |

At the SSIM of WebP, the films take 0.27 × the bytes and 0.53 × the CPU time; with `cpu-used=8` 0.23 to 0.26 × and 0.65 to
0.69 ×, and with 6, which is not real-time usage, 0.06 × the bytes for 4.6 to 5 × the CPU time. The drawn animations have a
higher SSIM than WebP's even at quality 4. Frames of AVIF are predicted from those before them; of a frame of WebP, only what
does not change is left out.

libaom 3.12.1 as the server calls it (`cpu-used=9`, no limits of its quantizer), at the `cq-level` of a still image at q=75 (23) and
above: the film without a palette, and the animation of examples at 320 × 240.

| `cq-level` | film: KB, SSIM | with `tune=ssim` | examples, with `tune=ssim` |
| --- | --- | --- | --- |
| 23 | 189.6, 0.972 | 180.5, 0.972 | 20.8, 0.994 |
| 27 | – | 114.7, 0.958 | 16.9, 0.992 |
| **29** | – | **92.7, 0.951** | **14.7, 0.991** |
| 31 | – | 73.0, 0.942 | 12.8, 0.990 |

The server takes 5/4 of the `cq-level` of a still image, with which the film has the SSIM of WebP and a quarter of its bytes.

## Other codecs

Measured once, on 2026-11-23, with the same images, built with the flags of native/build.sh (mozjpeg as the crate
mozjpeg-sys 2.2.3 builds it):

| codec | instead of | bytes | SSIM | CPU | kept |
| --- | --- | --- | --- | --- | --- |
| libjpeg-turbo 3.1.0 | Debian's 2.1.5 | the same bytes | the same | encoding 0.97–1.2 ×, decoding 0.9–1.1 ×: noise | 2.1.5 |
| mozjpeg (trellis, optimised Huffman) | libjpeg-turbo | 0.98 × at equal SSIM | – | 9 × | libjpeg-turbo |
| mozjpeg (trellis, progressive) | libjpeg-turbo, progressive | 0.98 × at equal SSIM | – | 5.7 × | libjpeg-turbo |
| libwebp 1.5.0 | Debian's 1.2.4 | the same bytes | the same | 1.00–1.02 × | 1.2.4 |

zlib-ng 2.3.3 instead of Debian's zlib 1.2.13, measured once, on 2026-11-29: the filtered rows of results of the server
(alpha.png at 300, a photograph at 300 and 800 pixels), compressed at level 3 with `Z_FILTERED`, and two originals inflated.

| | zlib | zlib-ng |
| --- | --- | --- |
| compressing alpha.png, 300 pixels | 7.6 ms, 173,876 bytes | 4.6 ms, 169,234 bytes |
| compressing a photograph, 300 pixels | 4.2 ms, 85,533 bytes | 2.3 ms, 83,094 bytes |
| compressing a photograph, 800 pixels | 30.0 ms, 522,043 bytes | 14.6 ms, 510,262 bytes |
| inflating alpha.png | 17.6 ms | 13.4 ms |
| inflating photo.png | 12.0 ms | 8.9 ms |
| CRC-32 and Adler-32 of alpha.png | 1.9 ms | 0.7 ms |

With the server's settings, from the bytes of an original to those of a PNG (libvips with either library in one loop, lowest
CPU time of 5 to 25 images): zlib-ng takes 0.70 to 0.88 of the time, and 0.2 % fewer bytes in all.

| | zlib | zlib-ng |
| --- | --- | --- |
| alpha.png, 300 pixels | 40.4 ms, 176,645 bytes | 34.0 ms, 171,652 bytes |
| transparent.png, 300 pixels | 15.2 ms, 179,671 bytes | 13.0 ms, 174,675 bytes |
| a PNG of photo.jpg, 300 pixels | 23.2 ms, 129,334 bytes | 20.5 ms, 129,302 bytes |
| photo.jpg, 800 pixels | 65.4 ms, 834,100 bytes | 52.4 ms, 857,477 bytes |
| portrait.jpg, 800 pixels | 37.2 ms, 445,431 bytes | 26.0 ms, 440,742 bytes |
| seedling.webp, 800 pixels | 46.1 ms, 388,530 bytes | 35.4 ms, 375,390 bytes |

So libspng and libvips are linked with zlib-ng. At level 4 it takes 0.9 % fewer bytes than at 3, for up to a fifth more time.

libwebp and libjpeg-turbo are Debian's archives: a new build picks up their security updates (native/build.sh upgrades the
packages).
MARKDOWN
} >"$work/encoders.md"
mkdir -p "$RESULTS"
mv "$work/encoders.md" "$RESULT"
cat "$RESULT"
