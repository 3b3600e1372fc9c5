#!/usr/bin/env bash
# Compares the release binary with nginx in one run and writes bench/results/summary.md.
#
# CPU time is read from /proc for the whole process tree of a server; it varies less than wall time on a shared
# machine. Rounds are interleaved and medians are reported.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

PORT=18180
PEER_PORT=18181
RESULT=$RESULTS/summary.md

need wrk:wrk nginx:nginx-light curl:curl pgrep:procps

cat >"$work/edge.json" <<JSON
{"handlers": [{"name": "s", "directory": "examples/images", "cache_path": "$work/cache", "max_variants": 0, "output_format": "jpg"}],
 "address": "127.0.0.1", "http_port": $PORT, "limits": {"connections_per_address": 5000}}
JSON
start_edge edge http
server=$started
renderer=$(pgrep -P "$server")

base="http://127.0.0.1:$PORT/s"
hit="$base/photo.jpg?w=600&h=400&q=60"
peer_hit="http://127.0.0.1:$PEER_PORT/hit.jpg"
mkdir -p "$work/www"
curl -sf -o "$work/www/hit.jpg" "$hit"
size=$(stat -c %s "$work/www/hit.jpg")

{ nginx_head nginx && echo "server { listen 127.0.0.1:$PEER_PORT; } }"; } >"$work/nginx.conf"
start_nginx nginx "$peer_hit"
peer=$started
curl -sf -o "$work/peer.jpg" "$peer_hit"
cmp "$work/peer.jpg" "$work/www/hit.jpg"
# nginx computes another entity tag.
etag=$(etag "$hit")
peer_etag=$(etag "$peer_hit")

# cold COUNT FIRST-WIDTH OPTIONS: CPU ms per uncached request.
cold() {
    local before i
    before=$(ticks "$server")
    for ((i = 0; i < $1; i++)); do
        printf 'url=%s/photo.jpg?w=%d&%s\noutput=/dev/null\n' "$base" $(($2 + i)) "$3"
    done >"$work/urls"
    curl -sf -K "$work/urls"
    awk -v t=$(($(ticks "$server") - before)) -v n="$1" 'BEGIN {printf "%.2f\n", t * 10 / n}'
}

edge_idle=$(rss "$server")
renderer_idle=$(rss "$renderer")
for ((round = 0; round < ROUNDS; round++)); do
    load "$server" 2 "$hit" >>"$work/hit"
    load "$peer" 2 "$peer_hit" >>"$work/peer"
    load "$server" 2 "$hit" "If-None-Match: $etag" >>"$work/304"
    load "$peer" 2 "$peer_hit" "If-None-Match: $peer_etag" >>"$work/peer304"
    cold 60 $((300 + round * 60)) 'h=200&f=jpg' >>"$work/cold-jpg"
    cold 60 $((300 + round * 60)) 'h=200&f=webp' >>"$work/cold-webp"
    cold 30 $((300 + round * 30)) 'h=200&f=avif' >>"$work/cold-avif"
done
for i in $(seq 1000); do
    case $((i % 4)) in 0) f=jpg ;; 1) f=webp ;; 2) f=png ;; 3) f=avif ;; esac
    printf 'url=%s/%s?w=%d&f=%s\noutput=/dev/null\n' "$base" photo.jpg $((100 + i % 250)) "$f"
done >"$work/mixed"
curl -sf --parallel --parallel-max 16 -K "$work/mixed" >/dev/null 2>&1

row() { echo "| $1 | $(column "$2" 1) | $(column "$3" 1) | $(ratio "$(column "$2" 1)" "$(column "$3" 1)") | $(column "$2" 2) | $(column "$3" 2) | $(ratio "$(column "$2" 2)" "$(column "$3" 2)") |"; }
mkdir -p "$RESULTS"
{
    echo "# Summary"
    echo
    echo "Medians of $ROUNDS interleaved rounds on $(nproc) processors; nginx $(nginx -v 2>&1 | sed 's/.*nginx.//'), both with an access log."
    echo
    echo "| $size bytes, kept alive, 64 connections | CPU µs a request | nginx | ratio | requests/s | nginx | ratio |"
    echo "| --- | --- | --- | --- | --- | --- | --- |"
    row "cache hit" hit peer
    row "304" 304 peer304
    echo
    echo "| uncached, 2 Mpx JPEG from a directory → 300+ × 200, q75 | CPU ms a request, both processes |"
    echo "| --- | --- |"
    for f in jpg webp avif; do echo "| $f | $(median <"$work/cold-$f") |"; done
    echo
    echo "| resident MB | edge | renderer |"
    echo "| --- | --- | --- |"
    echo "| after one request | $edge_idle | $renderer_idle |"
    echo "| after the load above and 1,000 mixed requests, 16 at once | $(rss "$server") | $(rss "$renderer") |"
} >"$RESULT"
cat "$RESULT"
