#!/usr/bin/env bash
# Compares the edge with nginx in one run and with the targets; writes bench/results/edge.md and edge.svg.
#
# Each round measures every case once, alternating between the server and nginx; medians of the rounds are compared.
# Client and servers share the machine, so CPU time is reported beside requests/s: it varies less.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

TIME=${TIME:-2}             # seconds of each load at full speed
PACED_TIME=${PACED_TIME:-4} # seconds of each paced load
RATE=2000                   # its requests a second, over 16 connections
CLIENTS=300                 # that request new variants all the time; 16 are fetched at once and 256 can wait
IDLE=1000
# 20 KB.
HIT="/s/photo.jpg?w=440&h=320&q=60"

need wrk:wrk nginx:nginx-light curl:curl openssl:openssl pgrep:procps chrt:util-linux
[ -n "${CLIENT:-}" ] || CLIENT=$(build_program load)
ulimit -n "$(ulimit -Hn)"
# The paced client represents another machine: it must not wait for a processor that the servers use.
first=(chrt -f 1)
"${first[@]}" true 2>/dev/null || first=()

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl.log" || fail "$(cat "$work/openssl.log")"

# edge_config NAME PORT LOG: HTTP on the port, HTTPS on the next.
edge_config() {
    cat >"$work/$1.json" <<JSON
{"handlers": [{"name": "s", "directory": "examples/images", "cache_path": "$work/$1.cache", "max_variants": 0, "output_format": "jpg"},
 {"name": "t", "directory": "examples/images", "cache_path": "$work/$1.cache", "output_format": "jpg",
  "token": {"type": "hmac", "secrets": ["a-secret-of-this-bench"]}}],
 "address": "127.0.0.1", "http_port": $2, "https_enabled": true, "https_port": $(($2 + 1)),
 "https_cert": "$work/cert.pem", "https_key": "$work/key.pem", "access_log": $3,
 "limits": {"connections": 5000, "connections_per_address": 5000}}
JSON
}
# nginx_config NAME PORT: the same, and HTTP without a log on the third port.
nginx_config() {
    nginx_head "$1" >"$work/$1.conf"
    cat >>"$work/$1.conf" <<NGINX
  server { listen 127.0.0.1:$2; }
  server { listen 127.0.0.1:$(($2 + 1)) ssl; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;
    ssl_protocols TLSv1.3; ssl_session_cache shared:SSL:10m; ssl_session_tickets on; }
  server { listen 127.0.0.1:$(($2 + 2)); access_log off; }
}
NGINX
}
edge_config edge 18200 true
edge_config quiet 18203 false
edge_config loaded 18206 true
edge_config fresh 18209 true
nginx_config nginx 18220
nginx_config fresh-nginx 18223

start_edge edge https
edge=$started
start_edge quiet https
quiet=$started
start_edge loaded https
loaded=$started
mkdir "$work/www"
curl -sf -o "$work/www/hit.jpg" "http://127.0.0.1:18200$HIT"
size=$(stat -c %s "$work/www/hit.jpg")
if [ "$size" -lt 19000 ] || [ "$size" -gt 21000 ]; then fail "the hit has $size bytes, not about 20 KB"; fi
start_nginx nginx http://127.0.0.1:18220/hit.jpg
nginx=$started

url() { echo "$1://127.0.0.1:$2$HIT"; }
peer_url() { echo "$1://127.0.0.1:$2/hit.jpg"; }
for url in "$(url https 18201)" "$(url http 18203)" "$(url http 18206)" "$(peer_url https 18221)" "$(peer_url http 18222)"; do
    curl -sfk -o "$work/same.jpg" "$url"
    cmp "$work/same.jpg" "$work/www/hit.jpg"
done
# The same image behind a signed URL.
signed="http://127.0.0.1:18200$("$SERVER" sign -c "$work/edge.json" "/t${HIT#/s}")"
expiring="http://127.0.0.1:18200$("$SERVER" sign -c "$work/edge.json" --expires 1d "/t${HIT#/s}")"
for url in "$signed" "$expiring"; do
    curl -sf -o "$work/same.jpg" "$url"
    cmp "$work/same.jpg" "$work/www/hit.jpg"
done
etag=$(etag "$(url http 18200)")
peer_etag=$(etag "$(peer_url http 18220)")

# The cipher suite that OpenSSL clients such as wrk negotiate.
suite() { openssl s_client -connect "127.0.0.1:$1" </dev/null 2>/dev/null | sed -n 's/^New, \(.*\), Cipher is \(.*\)/\1 \2/p'; }
wrk_suite=$(suite 18201)
[ "$wrk_suite" = "$(suite 18221)" ] || fail "wrk negotiates $wrk_suite with the server and $(suite 18221) with nginx"

# handshakes PID full|resumed PORT PATH: CPU µs, connections/s, share resumed, cipher suite and key exchange.
# Eight connections at once, where both servers have their maximum.
handshakes() {
    local before report
    before=$(ticks "$1")
    report=$("$CLIENT" "$2" "127.0.0.1:$3" "$4" 8 "$TIME")
    awk -v t=$(($(ticks "$1") - before)) '{printf "%.2f %.0f %.3f %s %s\n", t * 10000 / $2, $1, $3 / $2, $4, $5}' <<<"$report"
}

paced() { "${first[@]}" "$CLIENT" paced "127.0.0.1:$1" "$2" 16 "$PACED_TIME" "$RATE"; }

# hold COMMAND…: starts a client that runs until `release`, and waits for its first line; sets $held.
hold() {
    rm -f "$work/hold"
    mkfifo "$work/hold"
    "$@" <"$work/hold" >"$work/held" &
    held=$!
    pids+=("$held")
    exec 9>"$work/hold"
    wait_for grep -q . "$work/held"
}
# release: stops the client and prints its last line. Must not run in a subshell, because the client is this shell's child.
release() {
    exec 9>&-
    wait "$held"
    forget "$held"
    tail -n 1 "$work/held"
}

# Kernel memory of connections: sockets (both ends are on this machine), thread stacks, page tables.
kernel() { awk '/^(Slab|KernelStack|PageTables):/ {kb += $2} END {printf "%.1f", kb / 1024}' /proc/meminfo; }

# idle PID PORT plain|tls PATH: MB of $IDLE idle connections, in the server and in the kernel.
idle() {
    local before kernel_before after alive
    before=$(rss_family "$1")
    kernel_before=$(kernel)
    hold "$CLIENT" idle "127.0.0.1:$2" "$4" "$IDLE" "$3"
    after="$(rss_family "$1") $(kernel)"
    release >"$work/alive"
    alive=$(cat "$work/alive")
    [ "$alive" = "$IDLE $IDLE" ] || fail "not all of $IDLE idle connections to port $2 stayed open: $alive"
    awk -v a="$before" -v k="$kernel_before" '{printf "%.1f %.1f\n", $1 - a, $2 - k}' <<<"$after"
}
rss_family() {
    local processes
    mapfile -t processes < <(family "$1")
    rss "${processes[@]}"
}
# In new processes, without memory of earlier connections.
idle_both() {
    rm -rf "$work/fresh.cache"
    start_edge fresh https
    curl -sf -o /dev/null "$(url http 18209)"
    idle "$started" "$2" "$1" "$HIT" >>"$work/idle-$1"
    end "$started"
    start_nginx fresh-nginx "$(peer_url http 18223)"
    idle "$started" "$3" "$1" /hit.jpg >>"$work/idle-$1-peer"
    end "$started"
}

# Waits until the renderer's queue is empty.
calm() {
    local before
    for _ in $(seq 100); do
        before=$(ticks "$loaded")
        sleep 0.3
        [ $(($(ticks "$loaded") - before)) -gt 1 ] || return 0
    done
    fail "the renderer is still busy"
}
memory() { echo "$(rss "$loaded") $(rss "$(pgrep -P "$loaded")")"; }
overload() {
    paced 18206 "$HIT" >>"$work/calm"
    paced 18220 /hit.jpg >>"$work/calm-peer"
    # These clients represent other machines as well, so they run with low priority.
    hold nice -n 19 "$CLIENT" busy 127.0.0.1:18206 /s/photo.jpg "$CLIENTS" $((round * 7000))
    paced 18206 "$HIT" >>"$work/busy"
    memory >>"$work/memory-busy"
    paced 18220 /hit.jpg >>"$work/busy-peer"
    release >>"$work/counts"
    calm
}

memory_before=$(memory)
for ((round = 0; round < ROUNDS; round++)); do
    printf 'round %d of %d\n' $((round + 1)) "$ROUNDS"
    load "$edge" "$TIME" "$(url http 18200)" >>"$work/hit"
    load "$nginx" "$TIME" "$(peer_url http 18220)" >>"$work/hit-peer"
    load "$edge" "$TIME" "$signed" >>"$work/signed"
    load "$edge" "$TIME" "$expiring" >>"$work/expiring"
    load "$edge" "$TIME" "$(url http 18200)" "If-None-Match: $etag" >>"$work/304"
    load "$nginx" "$TIME" "$(peer_url http 18220)" "If-None-Match: $peer_etag" >>"$work/304-peer"
    load "$quiet" "$TIME" "$(url http 18203)" >>"$work/quiet"
    load "$nginx" "$TIME" "$(peer_url http 18222)" >>"$work/quiet-peer"
    load "$edge" "$TIME" "$(url https 18201)" >>"$work/tls"
    load "$nginx" "$TIME" "$(peer_url https 18221)" >>"$work/tls-peer"
    for kind in full resumed; do
        handshakes "$edge" "$kind" 18201 "$HIT" >>"$work/$kind"
        handshakes "$nginx" "$kind" 18221 /hit.jpg >>"$work/$kind-peer"
    done
    idle_both plain 18209 18223
    idle_both tls 18210 18224
    overload
done

suites=$(awk '{print $4, $5}' "$work"/{full,resumed}{,-peer} | sort -u)
[ "$(wc -l <<<"$suites")" -eq 1 ] || fail "the handshakes differ: $suites"

verdict() { awk -v r="$1" -v s="$2" -v t="$3" 'BEGIN {print (s == "≥" ? r >= t : r <= t) ? "yes" : "no"}'; }
# spread OURS PEER COLUMN: smallest and largest ratio of the two in a round.
spread() {
    paste -d ' ' <(awk -v c="$3" '{print $c}' "$work/$1") <(awk -v c="$3" '{print $c}' "$work/$2") |
        awk '{r = $1 / $2; if (NR == 1 || r < least) least = r; if (r > most) most = r} END {printf "%.2f–%.2f", least, most}'
}
# compare LABEL OURS PEER COLUMN [≥|≤ TARGET]: a row of the table and of the plot.
compare() {
    local ours peer exact reached=– wanted=–
    ours=$(column "$2" "$4")
    peer=$(column "$3" "$4")
    exact=$(awk -v a="$ours" -v b="$peer" 'BEGIN {print a / b}')
    if [ -n "${5:-}" ]; then
        reached=$(verdict "$exact" "$5" "$6")
        wanted="$5 $6"
    fi
    echo "| $1 | $ours | $peer | $(ratio "$ours" "$peer") ($(spread "$2" "$3" "$4")) | $wanted | $reached |"
    case $1 in signed*) return ;; esac # the plot is about nginx
    printf 'ratio\t%s\t%s\t%s\t%s\t%s\n' "$1" "$exact" "${5:-}" "${6:-}" "$reached" >>"$work/plot"
}
# A row of MB whose target is an absolute number.
idle_row() {
    local ours
    ours=$(column "$2" 1)
    echo "| $1 | $ours | $(column "$2-peer" 1) | | ≤ 50 | $(verdict "$ours" ≤ 50) |"
}
# latency LABEL IDLE BUSY COLUMN [TARGET]: a row with the renderer idle and busy.
latency() {
    local calm busy exact reached=– wanted=–
    calm=$(column "$2" "$4")
    busy=$(column "$3" "$4")
    exact=$(awk -v a="$busy" -v b="$calm" 'BEGIN {print a / b}')
    if [ -n "${5:-}" ]; then
        reached=$(verdict "$exact" ≤ "$5")
        wanted="≤ $5"
    fi
    echo "| $1 | $calm | $busy | $(ratio "$busy" "$calm") ($(spread "$3" "$2" "$4")) | $wanted | $reached |"
    case $1 in *p99.9) return ;; esac # only in the table: on its scale nothing else would be seen
    printf 'latency\t%s\t%s\t%s\t%s\n' "$1" "$calm" "$busy" "$reached" >>"$work/plot"
}
share() { awk '{n += $3} END {printf "%.1f %%", n * 100 / NR}' "$work/$1"; }
# most FILE COLUMN: largest value of a column.
most() { awk -v c="$2" '{print $c}' "$work/$1" | sort -n | tail -n 1; }

mkdir -p "$RESULTS"
{
    echo "# The edge against nginx"
    echo
    echo "Medians of $ROUNDS interleaved rounds, the smallest and largest ratio of a round in brackets."
    echo "$(nproc) processors ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r);"
    echo "nginx $(nginx -v 2>&1 | sed 's/.*nginx.//') with sendfile, open_file_cache and 2 workers; $(date -u +%F). Client and servers share the machine."
    echo "A hit is a JPEG of $size bytes; nginx serves the same bytes as a file. Both write an access log to a file unless a row says otherwise."
    echo
    echo "![Ratios to nginx and their targets](edge.svg)"
    echo
    echo "| what | s3imageserver | nginx | ratio | target | met |"
    echo "| --- | --- | --- | --- | --- | --- |"
    compare "hit, kept alive, 64 connections: requests/s" hit hit-peer 2 ≥ 0.95
    compare "hit: CPU µs a request" hit hit-peer 1 ≤ 1.1
    compare "hit, no access log: requests/s" quiet quiet-peer 2
    compare "hit, no access log: CPU µs a request" quiet quiet-peer 1
    compare "304: requests/s" 304 304-peer 2 ≥ 0.9
    compare "304: CPU µs a request" 304 304-peer 1
    compare "TLS, kept alive, 64 connections: requests/s" tls tls-peer 2 ≥ 1.0
    compare "TLS, kept alive: CPU µs a request" tls tls-peer 1
    compare "TLS, full handshakes/s" full full-peer 2 ≥ 1.3
    compare "TLS, full handshake: CPU µs" full full-peer 1
    compare "TLS, resumed handshakes/s" resumed resumed-peer 2 ≥ 1.0
    compare "TLS, resumed handshake: CPU µs" resumed resumed-peer 1
    idle_row "$IDLE idle connections, HTTP: MB" idle-plain
    idle_row "$IDLE idle connections, HTTPS: MB" idle-tls
    echo
    echo "TLS 1.3 with one P-256 certificate; wrk speaks $wrk_suite, the handshakes are $suites with one HEAD request each."
    echo "Resumed handshakes: $(share full) of the full ones (nginx $(share full-peer)), $(share resumed) of the resumed ones (nginx $(share resumed-peer))."
    echo "Idle connections: growth of the processes' resident memory. The kernel's slabs, thread stacks and page tables,"
    echo "the client's side included, grow by $(column idle-plain 2) MB for HTTP (nginx $(column idle-plain-peer 2)) and $(column idle-tls 2) MB for HTTPS (nginx $(column idle-tls-peer 2))."
    echo
    echo "## Hits with a token"
    echo
    echo "The same hit behind \`\"token\": {\"type\": \"hmac\"}\`, in the same rounds; nginx is not part of this table."
    echo
    echo "| what | with a token | without | ratio | target | met |"
    echo "| --- | --- | --- | --- | --- | --- |"
    compare "signed URL: requests/s" signed hit 2 ≥ 0.95
    compare "signed URL: CPU µs a request" signed hit 1
    compare "signed URL with \`exp\`: requests/s" expiring hit 2 ≥ 0.95
    compare "signed URL with \`exp\`: CPU µs a request" expiring hit 1
    more=$(awk -v a="$(column signed 1)" -v b="$(column hit 1)" 'BEGIN {if (a > b) printf "%.2f µs of CPU", a - b; else print "less CPU than the spread of these rounds"}')
    echo
    echo "A verification takes $more; the target is 3 µs at most."
    echo
    echo "## Hits while the renderer is overloaded"
    echo
    echo "$RATE hits a second over 16 connections, first with the renderer idle, then with $CLIENTS clients that request WebP and AVIF variants"
    echo "that are not cached: every renderer slot is taken and the queue is full. Latency is counted from the time a request was due;"
    echo "the nginx rows are measured at the same time and show the effect of the busy machine alone."
    echo
    echo "| milliseconds | renderer idle | renderer busy | ratio | target | met |"
    echo "| --- | --- | --- | --- | --- | --- |"
    latency "p50" calm busy 1
    latency "p99" calm busy 2 2
    latency "p99.9" calm busy 3
    latency "nginx p50" calm-peer busy-peer 1
    latency "nginx p99" calm-peer busy-peer 2
    latency "nginx p99.9" calm-peer busy-peer 3
    echo
    awk '{t += $1; ok += $2; no += $3; other += $4; if ($5 > quiet) quiet = $5} END {
        printf "The renderer made %.0f images a second. Of all %d requests for uncached images (%.0f a second), %.0f %% were answered 503 (%d); %d failed otherwise.\n",
            ok / t, ok + no + other, (ok + no + other) / t, no * 100 / (ok + no + other), no, other
        printf "The longest time without a 503 was %d ms.\n", quiet }' "$work/counts"
    if [ ${#first[@]} -gt 0 ]; then
        echo "The paced client ran with real-time priority, as if on another machine;"
    else
        echo "The paced client ran without real-time priority, which needs root;"
    fi
    echo "it woke up late by $(column calm 6) ms (p99), $(column busy 6) ms with the renderer busy, which is included in the numbers above."
    echo
    echo "| resident MB | edge | renderer |"
    echo "| --- | --- | --- |"
    echo "| before | ${memory_before/ / | } |"
    echo "| busy, the most of the rounds | $(most memory-busy 1) | $(most memory-busy 2) |"
    memory | awk '{print "| after | " $1 " | " $2 " |"}'
} >"$RESULTS/edge.md"
awk -f bench/plot.awk "$work/plot" >"$RESULTS/edge.svg"
cat "$RESULTS/edge.md"
