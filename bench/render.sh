#!/usr/bin/env bash
# Measures uncached images: CPU time of the server's processes per image, against a loop of `vips_thumbnail`, the
# operations of a step, and a saver with the same libvips (bench/render), and the memory of a mixed load. Writes
# bench/results/render.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

PORT=${PORT:-18400}
MS=${MS:-1500}            # of CPU for each measurement; it is counted in hundredths of a second
REQUESTS=${REQUESTS:-1000} # of the mixed load
JOBS=${JOBS:-.}           # those that match it
RESULT=$RESULTS/render.md

need curl:curl pgrep:procps vipsthumbnail:libvips-tools
[ -n "${TOOL:-}" ] || TOOL=$(build_program render)

originals=$work/originals
mkdir "$originals"
cp examples/images/photo.jpg "$originals/2mpx.jpg"
cp examples/images/seedling.webp "$originals/photo.webp"
cp examples/images/transparent.png "$originals/small.png"
cp tests/data/anim.gif "$originals/anim.gif"
cp tests/data/gif/keep-5.gif "$originals/tiny.gif"
cat >"$work/edge.json" <<JSON
{"handlers": [{"name": "s", "directory": "$originals", "cache_time": -1, "max_dimension": 5000,
   "watermarks": {"logo": {"file": "examples/images/logo.png", "offset": [0.03, 0.03]},
    "tile": {"file": "examples/images/logo.png", "size": 0.25, "opacity": 0.4, "tile": true, "spacing": [0.05, 0.1]}}}], "memory_cache": 0, "access_log": false,
 "address": "127.0.0.1", "http_port": $PORT}
JSON
start_edge edge http
server=$started
base="http://127.0.0.1:$PORT/s"
"$TOOL" large baseline "$originals/2mpx.jpg" "$originals/12mpx.jpg" >/dev/null
for kind in progressive-420 progressive-444; do "$TOOL" large "$kind" "$originals/2mpx.jpg" "$originals/$kind.jpg" >/dev/null; done
"$TOOL" large border "$originals/2mpx.jpg" "$originals/border.jpg" >/dev/null
curl -sf -o "$originals/alpha.png" "$base/small.png?w=1000&e=true&f=png"

# floor JOB SOURCE COUNT: CPU ms per image. The libvips here has no GIF: that of Debian's vipsthumbnail stands in.
floor() {
    if [ "$1" != "$GIF" ]; then
        "$TOOL" floor "$1" "$originals/$2" "$3"
    else
        thumbnail "$3" "$originals/tiny.gif" "$originals/$2[n=-1]" -s 100x -o "$work/peer.gif[strip]"
    fi
}

GIF=gif-100-gif
{
    "$TOOL" jobs
    echo "$GIF anim.gif w=100&f=gif 0.35"
} | grep -e "$JOBS" >"$work/jobs" || true
"$TOOL" steps | grep -e "$JOBS" >"$work/steps" || true
cat "$work/jobs" "$work/steps" >"$work/all"
# Everything once, because the first image of each kind fills tables and buffers. The time with bare libvips decides how
# often a job is measured.
declare -A count
while read -r name source query _; do
    served "$source?$query" 2 >/dev/null
    floor=$(floor "$name" "$source" 3)
    count[$name]=$(awk -v all="$MS" -v one="$floor" 'BEGIN {n = int(all / one); print (n < 3 ? 3 : n)}')
done <"$work/all"
for ((round = 0; round < ROUNDS; round++)); do
    printf 'round %d of %d\n' $((round + 1)) "$ROUNDS"
    while read -r name source query _; do
        floor=$(floor "$name" "$source" "${count[$name]}")
        ours=$(served "$source?$query" "${count[$name]}")
        echo "$ours $floor $(ratio "$ours" "$floor")" >>"$work/$name"
    done <"$work/all"
done
while read -r name source query _; do
    curl -sf -o "$work/answer" "$base/$source?$query"
    if [ "$name" = "$GIF" ]; then
        similarity="– –" bytes=$(stat -c %s "$work/peer.gif")
    else
        similarity=$("$TOOL" ssim "$name" "$originals/$source" "$work/answer")
        bytes=$("$TOOL" bytes "$name" "$originals/$source")
    fi
    echo "$similarity $(stat -c %s "$work/answer") $bytes" >"$work/$name.sizes"
done <"$work/all"
end "$server"

# --- Memory: 12 Mpx originals, half of them progressive, four concurrent requests, in new processes.
start_edge edge http
mapfile -t processes < <(family "$started")
peak() { for pid in "${processes[@]}"; do cat "/proc/$pid/status"; done | awk '/VmHWM/ {kb += $2} END {printf "%.1f", kb / 1024}'; }
total=0
for quarter in 1 2 3 4; do
    # Reset the peak.
    for pid in "${processes[@]}"; do echo 5 >"/proc/$pid/clear_refs"; done
    for ((i = 0; i < REQUESTS / 4; i++)); do
        case $((i % 5)) in 0) job='w=300&h=200&f=jpg' ;; 1) job='w=1200&f=jpg' ;; 2) job='w=300&h=200&f=webp' ;; 3) job='w=800&f=webp' ;; 4) job='w=600&h=600&g=smart&f=jpg' ;; esac
        case $((i % 4)) in 1) source=progressive-420.jpg ;; 3) source=progressive-444.jpg ;; *) source=12mpx.jpg ;; esac
        # All requests differ, so that none are coalesced.
        printf 'url=%s/%s?%s&q=%d\noutput=/dev/null\n' "$base" "$source" "$job" $((50 + i % 40))
    done >"$work/mixed"
    curl -sf --parallel --parallel-max 4 -K "$work/mixed" >/dev/null 2>&1
    peak >"$work/peak.$quarter"
    total=$(awk -v a="$total" -v b="$(cat "$work/peak.$quarter")" 'BEGIN {print (a > b ? a : b)}')
done
end "$started"

mkdir -p "$RESULTS"
{
    echo "# Uncached images"
    echo
    echo "CPU ms per image: the server's processes, and a loop of \`vips_thumbnail\` and a saver with the same options in one process of the"
    echo "same static libvips. Medians of $ROUNDS interleaved rounds; $(nproc) processors ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)),"
    echo "Linux $(uname -r), $(date -u +%F). 2 Mpx are 1664 × 1248, 12 Mpx 4000 × 3000; q75. SSIM is against a Lanczos resize of all"
    echo "pixels without lossy compression. GIF is compared with Debian's vipsthumbnail ($(vips --version), one thread, start-up subtracted)."
    echo
    echo "| job | server | bare libvips | ratio | target | met | bytes | bare libvips: bytes | SSIM | bare libvips: SSIM | within 0.01 |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    while read -r name source query most; do
        read -r one other bytes floor_bytes <"$work/$name.sizes"
        near=$(awk -v a="$one" -v b="$other" 'BEGIN {print a == "–" ? "–" : (a + 0 >= b - 0.01) ? "yes" : "**no**"}')
        median_ratio=$(column "$name" 3)
        echo "| \`$source?$query\` | $(column "$name" 1) | $(column "$name" 2) | $median_ratio | ≤ $most | $(verdict "$median_ratio" "$most") | $bytes | $floor_bytes | $one | $other | $near |"
    done <"$work/jobs"
    echo
    echo "| memory | measured | target | met |"
    echo "| --- | --- | --- | --- |"
    echo "| peak of both processes, $REQUESTS mixed requests for 12 Mpx sources, half of them progressive, 4 at a time | $total MB | ≤ 60 MB | $(verdict "$total" 60) |"
    flat=$(ratio "$(cat "$work/peak.4")" "$(cat "$work/peak.2")")
    echo "| … of the last quarter, of the second's | $(cat "$work/peak.4") of $(cat "$work/peak.2") MB: $flat × | ≤ 1.05 × | $(verdict "$flat" 1.05) |"
    echo
    echo "Each step of the server on a 2 Mpx JPEG whose result is 800 pixels wide, and the libvips operations that give the same"
    echo "result (bench/render/steps.rs). The watermarks are the examples of docs/options.md, decoded once."
    echo
    echo "| step | server | bare libvips | ratio | target | met | SSIM of one against the other |"
    echo "| --- | --- | --- | --- | --- | --- | --- |"
    while read -r name source query most; do
        read -r similarity _ <"$work/$name.sizes"
        median_ratio=$(column "$name" 3)
        echo "| \`$source?$query\` | $(column "$name" 1) | $(column "$name" 2) | $median_ratio | ≤ $most | $(verdict "$median_ratio" "$most") | $similarity |"
    done <"$work/steps"
} >"$RESULT"
cat "$RESULT"
