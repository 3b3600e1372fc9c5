#!/usr/bin/env bash
# Measures the cache: one fetch and one render for concurrent requests, hits with a million entries, eviction within
# its size limit, and the time from start to the first hit. Writes bench/results/cache.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh

TIME=${TIME:-3}       # seconds of each load
KEYS=${KEYS:-100000}  # keys of the large cache; each has 10 entries
EVICT_TIME=${EVICT_TIME:-10}
BOUND=$((3 << 20))
SECRET=a-secret-of-this-bench
RESULT=$RESULTS/cache.md

need wrk:wrk curl:curl pgrep:procps jq:jq
[ -n "${TOOL:-}" ] || TOOL=$(build_program cache)
ulimit -n "$(ulimit -Hn)"

# config NAME PORT CACHE MEMORY ORIGIN [FIELDS]: HTTP on the port, the admin listener on the next.
config() {
    cat >"$work/$1.json" <<JSON
{"handlers": [{"name": "h", $5, "cache_path": "$3", "max_variants": 0, "output_format": "jpg"${6:+, $6}}], "memory_cache": $4,
 "address": "127.0.0.1", "http_port": $2, "access_log": false, "limits": {"connections_per_address": 5000},
 "admin": {"address": "127.0.0.1:$(($2 + 1))", "secret": "$SECRET"}}
JSON
}
# stats PORT FILTER: a number from /-/stats.
stats() { curl -sf -H "Authorization: Bearer $SECRET" "http://127.0.0.1:$(($1 + 1))/-/stats" | jq -r "$2"; }
original="\"directory\": \"$PWD/examples/images\""
entries_of() { [ "$(stats "$1" '.caches[0].entries')" -ge "$2" ]; }

# --- Concurrent requests for 50 images that are not cached.
mkfifo "$work/hold"
"$TOOL" origin 127.0.0.1:18309 examples/images/photo.jpg 30 <"$work/hold" &
origin=$!
pids+=("$origin")
exec 9>"$work/hold"
bucket='"aws": {"bucket_name": "b", "endpoint": "http://127.0.0.1:18309", "anonymous": true}'
wait_for curl -sf http://127.0.0.1:18309/count
gets=0
for ((round = 0; round < ROUNDS; round++)); do
    config storm 18300 "$work/storm.$round" 0 "$bucket"
    start_edge storm http
    line=$("$TOOL" storm 127.0.0.1:18300 500 50)
    total=$(curl -sf http://127.0.0.1:18309/count)
    echo "$line $((total - gets)) $(stats 18300 .rendered)" >>"$work/storm"
    gets=$total
    end "$started"
done
end "$origin"
exec 9>&-

# --- Hits with a thousand entries and with a million, and the start with a million.
config template 18310 "$work/template" 0 "$original"
start_edge template http
curl -sf -o "$work/hit.jpg" 'http://127.0.0.1:18310/h/photo.jpg?w=48&f=jpg&q=1'
end "$started"
template=$(find "$work/template" -type f)
"$TOOL" fill "$template" "$work/few" 100 10 >/dev/null
filled=$("$TOOL" fill "$template" "$work/many" "$KEYS" 10)
# targets NAME STRIDE: a wrk script that requests one of 1,000 images at random.
targets() {
    cat >"$work/$1.lua" <<LUA
math.randomseed($3)
request = function()
  return wrk.format("GET", "/h/" .. math.random(0, $4) * $2 .. "?w=48&f=jpg&q=" .. math.random(1, 10))
end
LUA
}
targets few 1 7 99
targets same $((KEYS / 100)) 7 99
targets all 1 7 $((KEYS - 1))
config few 18320 "$work/few" 0 "$original"
config many 18330 "$work/many" 0 "$original"
for ((round = 0; round < ROUNDS; round++)); do
    "$TOOL" start 127.0.0.1:18330 "/h/$round?w=48&f=jpg&q=1" >>"$work/start" &
    waiting=$!
    pids+=("$waiting")
    start_edge many http
    wait "$waiting" || fail "no hit after the start"
    forget "$waiting"
    [ $((round + 1)) -eq "$ROUNDS" ] || end "$started"
done
many=$started
start_edge few http
few=$started
wait_for entries_of 18320 1000
few_rss=$(rss "$few")
# The cache manager scans at most 20,000 entries a second.
for _ in $(seq 3000); do entries_of 18330 $((KEYS * 10)) && break || sleep 0.1; done
entries_of 18330 $((KEYS * 10)) || fail "the scan did not find every entry"
many_rss=$(rss "$many")
# hits PID PORT SCRIPT: CPU µs per hit and median latency in µs over 2 connections.
hits() {
    local before report
    before=$(ticks "$1")
    report=$(wrk -t1 -c2 -d"$TIME" --latency -s "$work/$3.lua" "http://127.0.0.1:$2")
    if grep -e Non-2xx -e 'Socket errors' <<<"$report" >&2; then fail "not every hit was answered"; fi
    awk -v t=$(($(ticks "$1") - before)) '
        / 50% / {unit = $2; sub(/[0-9.]+/, "", unit); p = $2 * (unit == "us" ? 1 : unit == "ms" ? 1e3 : 1e6)}
        /requests in/ {n = $1} END {printf "%.2f %.0f\n", t * 10000 / n, p}' <<<"$report"
}
for ((round = 0; round < ROUNDS; round++)); do
    hits "$few" 18320 few >>"$work/hits-few"
    hits "$many" 18330 same >>"$work/hits-same"
    hits "$many" 18330 all >>"$work/hits-all"
done
end "$few" "$many"

# --- A sustained load of misses, with a size limit and without.
cat >"$work/misses.lua" <<'LUA'
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/h/seedling.webp?f=jpg&q=" .. 1 + n % 74 .. "&w=" .. 40 + math.floor(n / 74) % 200 .. "&h=" .. 40 + math.floor(n / 14800))
end
LUA
# misses NAME PORT FIELDS: misses/s; sizes after the limit was reached go to $work/NAME.sizes.
misses() {
    config "$1" "$2" "$work/$1" 0 "$original" "$3"
    start_edge "$1" http
    wrk -t1 -c4 -d"$EVICT_TIME" -s "$work/misses.lua" "http://127.0.0.1:$2" >"$work/wrk.log" &
    local loading=$!
    pids+=("$loading")
    while kill -0 "$loading" 2>/dev/null; do
        find "$work/$1/v1" -type f -printf '%b\n' 2>/dev/null | awk '{n += $1} END {print n * 512}' >>"$work/$1.sizes" || true
        sleep 0.25
    done
    wait "$loading" || true
    forget "$loading"
    if grep -e Non-2xx -e 'Socket errors' "$work/wrk.log" >&2; then fail "not every miss was answered"; fi
    awk '/Requests\/sec/ {print $2}' "$work/wrk.log"
    sleep 1.5
    find "$work/$1/v1" -type f -printf '%b\n' | awk '{n += $1} END {print n * 512}' >>"$work/$1.rest"
    end "$started"
    rm -rf "${work:?}/$1"
}
for ((round = 0; round < ROUNDS; round++)); do
    misses bounded 18340 "\"cache_max_bytes\": $BOUND" >>"$work/bounded.rate"
    misses free 18350 '"cache_time": 0' >>"$work/free.rate"
done
largest=$(sort -n "$work/bounded.sizes" | tail -1)
smallest_rest=$(sort -n "$work/bounded.rest" | head -1)
unbounded=$(sort -n "$work/free.rest" | tail -1)
[ "$unbounded" -gt $((BOUND * 2)) ] || echo "bench: the load is too small to say much about eviction" >&2

yes() { awk -v a="$1" -v op="$2" -v b="$3" 'BEGIN {print (op == "<=" ? a + 0 <= b + 0 : a + 0 == b + 0) ? "yes" : "**no**"}'; }
worst() { awk -v c="$2" '{print $c}' "$work/$1" | sort -n | tail -1; }
kb() { awk -v a="$1" 'BEGIN {printf "%.1f", a / 1048576}'; }
per_entry=$(awk -v a="$many_rss" -v b="$few_rss" -v n=$((KEYS * 10 - 1000)) 'BEGIN {printf "%.0f", (a - b) * 1048576 / n}')
mkdir -p "$RESULTS"
{
    echo "# The cache"
    echo
    echo "Medians of $ROUNDS rounds; $(nproc) processors ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)), Linux $(uname -r),"
    echo "$(stat -f -c %T "$work") file system; $(date -u +%F). Client and server share the machine; \`memory_cache\` is 0, so every hit is read from disk."
    echo
    echo "| what | measured | target | met |"
    echo "| --- | --- | --- | --- |"
    echo "| 500 concurrent requests for 50 uncached images: GETs at the origin, maximum of the rounds | $(worst storm 6) | 50 | $(yes "$(worst storm 6)" == 50) |"
    echo "| … images rendered, maximum of the rounds | $(worst storm 7) | 50 | $(yes "$(worst storm 7)" == 50) |"
    echo "| … ms to the median and to the last response | $(column storm 3), $(column storm 5) | – | – |"
    few_p=$(column hits-few 2) same_p=$(column hits-same 2) all_p=$(column hits-all 2)
    echo "| hits on 1,000 of 1,000 entries: median latency, CPU per hit | $few_p µs, $(column hits-few 1) µs | – | – |"
    echo "| hits on 1,000 of $((KEYS * 10)) entries | $same_p µs, $(column hits-same 1) µs: $(ratio "$same_p" "$few_p") × | ≤ 1.1 × | $(yes "$(ratio "$same_p" "$few_p")" "<=" 1.1) |"
    echo "| hits on all $((KEYS * 10)) entries | $all_p µs, $(column hits-all 1) µs: $(ratio "$all_p" "$few_p") × | – | – |"
    echo "| memory of the edge for each entry | $per_entry bytes | ≤ 100 bytes | $(yes "$per_entry" "<=" 100) |"
    echo "| start with $((KEYS * 10)) entries: first hit after | $(column start 1) ms | ≤ 100 ms | $(yes "$(column start 1)" "<=" 100) |"
    echo "| sustained misses, limit $(kb $BOUND) MiB: largest size | $(kb "$largest") MiB: $(ratio "$largest" $BOUND) × | ≤ 1.02 × | $(yes "$(ratio "$largest" $BOUND)" "<=" 1.02) |"
    echo "| … smallest size after the limit was reached | $(kb "$smallest_rest") MiB: $(ratio "$smallest_rest" $BOUND) × | ≥ 0.98 × | $(yes 0.98 "<=" "$(ratio "$smallest_rest" $BOUND)") |"
    bounded=$(median <"$work/bounded.rate") free=$(median <"$work/free.rate")
    echo "| … misses a second; without a limit ($(kb "$unbounded") MiB written) | $bounded, $free: $(ratio "$bounded" "$free") × | ≥ 0.95 × | $(yes 0.95 "<=" "$(ratio "$bounded" "$free")") |"
    echo
    echo "The large cache was written in $(awk '{print $2}' <<<"$filled") s. Each image has $(stat -c %s "$work/hit.jpg") bytes; a key has 10 entries."
} >"$RESULT"
cat "$RESULT"
