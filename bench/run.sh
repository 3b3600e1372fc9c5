#!/usr/bin/env bash
# Measures the release binary against nginx in one run and writes bench/results/summary.md.
#
# CPU time is read from /proc, for the whole process tree of a server; it varies less between machines and
# neighbours than wall time does. Rounds are interleaved and the median of them is reported.
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${ROUNDS:-5}
PORT=18180
PEER_PORT=18181
RESULT=bench/results/summary.md
work=$(mktemp -d)
# nginx, started by root, drops to a user of its own.
chmod 755 "$work"
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

for tool in wrk nginx curl; do
    command -v "$tool" >/dev/null || { echo "bench: needs $tool (apt-get install wrk nginx-light curl)" >&2; exit 1; }
done

cat >"$work/config.json" <<JSON
{"handlers": [{"name": "s", "directory": "examples/pictures", "cache_path": "$work/cache", "output_format": "jpg"}],
 "address": "127.0.0.1", "http_port": $PORT}
JSON
./s3imageserver -c "$work/config.json" 2>"$work/log" &
pids+=($!)
server=$!
for _ in $(seq 100); do grep -q listening "$work/log" && break; sleep 0.05; done
renderer=$(pgrep -P "$server")

base="http://127.0.0.1:$PORT/s"
hit="$base/photo.jpg?w=600&h=400&q=60"
mkdir -p "$work/www"
curl -sf -o "$work/www/hit.jpg" "$hit"
etag=$(curl -sfI "$hit" | tr -d '\r' | awk 'tolower($1) == "etag:" {print $2}')
size=$(stat -c %s "$work/www/hit.jpg")

cat >"$work/nginx.conf" <<NGINX
worker_processes 2; daemon off; pid $work/nginx.pid; error_log $work/nginx.log;
events { worker_connections 1024; }
http { access_log $work/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  open_file_cache max=1000; server { listen 127.0.0.1:$PEER_PORT; root $work/www; etag on; } }
NGINX
nginx -c "$work/nginx.conf" 2>>"$work/nginx.log" &
pids+=($!)
peer=$!
for _ in $(seq 100); do curl -sf -o /dev/null "http://127.0.0.1:$PEER_PORT/hit.jpg" && break; sleep 0.05; done
curl -sf -o "$work/peer.jpg" "http://127.0.0.1:$PEER_PORT/hit.jpg"
cmp "$work/peer.jpg" "$work/www/hit.jpg"

# CPU ticks (10 ms) of a process and its children.
ticks() {
    local total=0 pid
    for pid in "$1" $(pgrep -P "$1" || true); do
        total=$((total + $(awk '{print $14 + $15}' "/proc/$pid/stat")))
    done
    echo "$total"
}
rss() { awk '/VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# µs of CPU a request and requests a second: load PID URL [header]
load() {
    local before requests report
    before=$(ticks "$1")
    report=$(wrk -t1 -c64 -d2 ${3:+-H "$3"} "$2")
    requests=$(awk '/requests in/ {print $1}' <<<"$report")
    awk -v t=$(($(ticks "$1") - before)) -v n="$requests" 'BEGIN {printf "%.2f ", t * 10000 / n}'
    awk '/Requests\/sec/ {printf "%.0f\n", $2}' <<<"$report"
}

# ms of CPU an uncached request: cold NUMBER-OF-REQUESTS FIRST-WIDTH OPTIONS
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
    load "$server" "$hit" >>"$work/hit"
    load "$peer" "http://127.0.0.1:$PEER_PORT/hit.jpg" >>"$work/peer"
    load "$server" "$hit" "If-None-Match: $etag" >>"$work/304"
    # nginx's own entity tag differs from ours.
    peer_etag=$(curl -sfI "http://127.0.0.1:$PEER_PORT/hit.jpg" | tr -d '\r' | awk 'tolower($1) == "etag:" {print $2}')
    load "$peer" "http://127.0.0.1:$PEER_PORT/hit.jpg" "If-None-Match: $peer_etag" >>"$work/peer304"
    cold 60 $((300 + round * 60)) 'h=200&f=jpg' >>"$work/cold-jpg"
    cold 60 $((300 + round * 60)) 'h=200&f=webp' >>"$work/cold-webp"
    cold 30 $((300 + round * 30)) 'h=200&f=avif' >>"$work/cold-avif"
done
for i in $(seq 1000); do
    case $((i % 4)) in 0) f=jpg ;; 1) f=webp ;; 2) f=png ;; 3) f=avif ;; esac
    printf 'url=%s/%s?w=%d&f=%s\noutput=/dev/null\n' "$base" photo.jpg $((100 + i % 250)) "$f"
done >"$work/mixed"
curl -sf --parallel --parallel-max 16 -K "$work/mixed" >/dev/null 2>&1

column() { awk -v c="$2" '{print $c}' "$work/$1" | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
row() { echo "| $1 | $(column "$2" 1) | $(column "$3" 1) | $(ratio "$(column "$2" 1)" "$(column "$3" 1)") | $(column "$2" 2) | $(column "$3" 2) | $(ratio "$(column "$2" 2)" "$(column "$3" 2)") |"; }
mkdir -p bench/results
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
    echo "| uncached, 2 Mpx JPEG from a folder → 300+ × 200, q75 | CPU ms a request, both processes |"
    echo "| --- | --- |"
    for f in jpg webp avif; do echo "| $f | $(median <"$work/cold-$f") |"; done
    echo
    echo "| resident MB | edge | renderer |"
    echo "| --- | --- | --- |"
    echo "| after one request | $edge_idle | $renderer_idle |"
    echo "| after the load above and 1,000 mixed requests, 16 at once | $(rss "$server") | $(rss "$renderer") |"
} >"$RESULT"
cat "$RESULT"
