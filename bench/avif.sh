#!/usr/bin/env bash
# Measures AVIF as input and output: CPU time of the server's processes per uncached image, against Debian's
# vipsthumbnail, whose libvips reads and writes AVIF through libheif (with dav1d and libaom). Writes
# bench/results/avif.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

PORT=${PORT:-18420}
RESULT=$RESULTS/avif.md

need curl:curl pgrep:procps vipsthumbnail:libvips-tools avifenc:libavif-bin

originals=$work/originals
mkdir "$originals"
cp examples/images/photo.jpg "$originals/2mpx.jpg"
cp tests/data/yuv420.avif "$originals/tiny.avif"
vips resize "$originals/2mpx.jpg" "$originals/12mpx.png" 2.404
avif() { avifenc -s 8 --min 20 --max 30 "${@:3}" "$originals/$1" "$originals/$2" >/dev/null; }
avif 2mpx.jpg 2mpx.avif
avif 12mpx.png 12mpx.avif -y 420
avif 12mpx.png 12mpx-444.avif -y 444
avif 12mpx.png 12mpx-10-bit.avif -y 420 -d 10
vips crop "$originals/12mpx.png" "$originals/tiles.png" 0 0 3840 2560
vips dzsave "$originals/tiles.png" "$work/tiles" --layout google --tile-size 1280 --depth one --suffix .png >/dev/null
avifenc -s 8 --min 20 --max 30 -y 420 --grid 3x2 "$work"/tiles/0/?/?.png "$originals/10mpx-grid.avif" >/dev/null
vips rot "$originals/2mpx.jpg" "$work/turned.png" d180
vips extract_band "$work/turned.png" "$work/band.png" 0
vips bandjoin "$originals/2mpx.jpg $work/band.png" "$originals/alpha.png"
avif alpha.png 2mpx-alpha.avif

cat >"$work/edge.json" <<JSON
{"handlers": [{"name": "s", "directory": "$originals", "cache_time": -1}], "memory_cache": 0, "access_log": false,
 "address": "127.0.0.1", "http_port": $PORT}
JSON
start_edge edge http
server=$started
base="http://127.0.0.1:$PORT/s"

# measure NAME COUNT QUERY ORIGINAL OUTPUT SIZE…: appends "server peer ratio" to $work/NAME.
measure() {
    local name=$1 count=$2 query=$3 original=$4 output=$5
    shift 5
    local ours peer
    ours=$(served "$original?$query" "$count")
    peer=$(thumbnail "$count" "$originals/tiny.avif" "$originals/$original" -o "$output" "$@")
    echo "$ours $peer $(ratio "$ours" "$peer")" >>"$work/$name"
}

READ="2mpx 12mpx 12mpx-444 12mpx-10-bit 10mpx-grid 2mpx-alpha"
# The SSIMULACRA2 of the server's q=75 (bench/results/encoders.md).
AVIF="[Q=65,effort=1,strip]"
served "2mpx.avif?w=300&h=200&f=jpg" 2 >/dev/null
served "2mpx.jpg?w=300&h=200&f=avif" 2 >/dev/null
for ((round = 0; round < ROUNDS; round++)); do
    printf 'round %d of %d\n' $((round + 1)) "$ROUNDS"
    for name in $READ; do
        case $name in 2mpx*) count=8 ;; *) count=3 ;; esac
        measure "$name" "$count" "w=300&h=200&f=jpg" "$name.avif" "$work/out.jpg[Q=75,strip]" -s 300x200 --smartcrop centre
    done
    measure write-300 20 "w=300&h=200&f=avif" 2mpx.jpg "$work/out.avif$AVIF" -s 300x200 --smartcrop centre
    measure write-800 8 "w=800&f=avif" 2mpx.jpg "$work/out.avif$AVIF" -s 800x
    measure write-1200 5 "w=1200&f=avif" 2mpx.jpg "$work/out.avif$AVIF" -s 1200x
done
end "$server"

row() { echo "| $1 | $(printf '%.1f | %.1f' "$(column "$2" 1)" "$(column "$2" 2)") | $(column "$2" 3) | ≤ $3 | $(verdict "$(column "$2" 3)" "$3") |"; }
mkdir -p "$RESULTS"
{
    echo "# AVIF"
    echo
    echo "CPU ms per uncached image: the server's processes, and Debian's vipsthumbnail"
    echo "($(vips --version), libheif with dav1d and libaom; one thread; start-up subtracted). Medians of $ROUNDS interleaved rounds;"
    echo "$(nproc) processors ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)), Linux $(uname -r), $(date -u +%F)."
    echo
    echo "| job | server | vipsthumbnail | ratio | target | met |"
    echo "| --- | --- | --- | --- | --- | --- |"
    for name in $READ; do row "\`$name.avif?w=300&h=200&f=jpg\`" "$name" "$([ "$name" = 2mpx ] && echo 0.40 || echo 0.6)"; done
    row "\`2mpx.jpg?w=300&h=200&f=avif\`" write-300 0.45
    row "\`2mpx.jpg?w=800&f=avif\`" write-800 0.40
    row "\`2mpx.jpg?w=1200&f=avif\`" write-1200 0.40
} >"$RESULT"
cat "$RESULT"
