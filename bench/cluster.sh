#!/usr/bin/env bash
# Measures three nodes behind HAProxy, with originals and shared results in a Garage cluster of three nodes with
# replication 3, each in a network namespace of its own; writes bench/results/cluster.md and cluster.svg.
#
# usage: bench/cluster.sh [ROW…]
#
# ROW is one of the names in ROWS below: these rows alone are measured and printed, and no file is written. Needs root,
# for the namespaces. The first run builds Garage (GARAGE_ROOT, by default in ~/.cache/s3imageserver).
# SHARED=no measures nodes without shared results.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/lib.sh
. bench/lib.sh
# shellcheck source=bench/cluster/setup.sh
. bench/cluster/setup.sh

ROWS=(renders join kill garage cut purge event shared nodes)
KEYS=${KEYS:-2000}             # originals of 400 × 300
REQUESTS=${REQUESTS:-200000}   # of each Zipf-distributed load
EXPONENT=0.8
PHOTOS=${PHOTOS:-150}          # originals of 2 Mpx, whose keys begin at $PHOTO
PHOTO=5000
RATE=${RATE:-150}              # requests a second while something fails
PURGES=${PURGES:-100}
PURGE_POLL=2                   # seconds, the default of purge_poll
SHARE=${SHARE:-15}             # percent of a processor for each node, where hits are counted
TIME=${TIME:-8}                # seconds of each load of hits
SHARED=${SHARED:-yes}
results=$SHARED
[ "$SHARED" = yes ] || results=
HASHED=10.77.0.2:8001
ROBIN=10.77.0.2:8002
rows=$work/rows plot=$work/plot

[ "$(id -u)" -eq 0 ] || fail "network namespaces need root"
chosen=("${ROWS[@]}")
[ $# -eq 0 ] || chosen=("$@")
for row in "${chosen[@]}"; do
    [[ " ${ROWS[*]} " == *" $row "* ]] || fail "no such row: $row; there are ${ROWS[*]}"
done
need curl:curl ip:iproute2 haproxy:haproxy wrk:wrk pgrep:procps cargo:cargo
SERVER=$(realpath "$SERVER")
[ -n "${TOOL:-}" ] || TOOL=$(build_program cluster)
install_garage
ulimit -n "$(ulimit -Hn)"

# row WHAT MEASURED [OP TARGET VALUE]: a row of the table. VALUE is compared with TARGET.
row() {
    local met=– target=–
    if [ -n "${3:-}" ]; then
        target="$3 $4"
        met=$(awk -v v="$5" -v op="$3" -v t="$4" 'BEGIN {print (op == "≤" ? v + 0 <= t + 0 : v + 0 >= t + 0) ? "yes" : "**no**"}')
    fi
    echo "| $1 | $2 | $target | $met |" | tee -a "$rows"
}
# bar GROUP LABEL VALUE UNIT [TARGET]: a bar of the plot.
bar() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${5:-}" >>"$plot"; }
over() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", b ? a / b : 0}'; }
now() { date +%s%3N; }
tool() { within lan "$TOOL" "$@"; }
# in_background FILE COMMAND…: a client in $background, whose output goes to the file.
in_background() {
    ip netns exec "$net-lan" "$TOOL" "${@:2}" >"$1" 2>>"$work/client.log" &
    background=$!
    pids+=("$background")
}
await() {
    wait "$1" || fail "a client failed: $(tail -n 3 "$work/client.log")"
    forget "$1"
}
# warm NUMBER…: requests the variants that are hits afterwards.
warm() {
    local i count=200
    [ "$KEYS" -ge 200 ] || count=$KEYS
    for i; do tool each "10.77.0.1$i:8080" 0 "$count" 'w=240&f=jpg' >"$work/warm"; done
}

# --- Renders and fetches for each distinct variant.
renders_once() { # LABEL ADDRESS RESULTS MOST
    local i made=0 gets=0 line distinct
    start_nodes "$3" 1 2 3
    line=$(tool zipf "$2" 16 "$REQUESTS" "$KEYS" "$EXPONENT")
    for i in 1 2 3; do
        made=$((made + $(rendered "$i")))
        gets=$((gets + $(fetched "$i")))
    done
    [ "$(awk '{print $2}' <<<"$line")" -eq 0 ] || fail "requests failed: $line"
    distinct=$(awk '{print $3}' <<<"$line")
    echo "$1: $line; $made renders, $gets fetches" >>"$work/notes"
    made=$(over "$made" "$distinct") gets=$(over "$gets" "$distinct")
    row "renders, and originals fetched, for each of the $distinct distinct variants requested: $1" "$made, $gets" \
        ${4:+≤ "$4" "$(printf '%s\n' "$made" "$gets" | sort -n | tail -n 1)"}
    bar "Renders for each distinct variant" "$1" "$made" "" "${4:-}"
}
measure_renders() {
    renders_once "hashed, without shared results" "$HASHED" ""
    renders_once "round robin, without shared results" "$ROBIN" ""
    [ -n "$results" ] || return 0
    renders_once "hashed" "$HASHED" hashed 1.02
    renders_once "round robin" "$ROBIN" robin 1.10
}

# --- A fourth node joins.
measure_join() {
    local made all share
    start_nodes "${results:+join}" 1 2 3
    tool zipf "$ROBIN" 16 "$REQUESTS" "$KEYS" "$EXPONENT" >"$work/join"
    in_background "$work/join" zipf "$ROBIN" 2 1000000000 "$KEYS" "$EXPONENT"
    configure 4 "${results:+join}"
    start_node 4
    wait_for is_ready 4
    sleep 60
    made=$(rendered 4) all=$(answered 4)
    end "$background"
    [ "$all" -gt 0 ] || fail "the fourth node got no requests"
    share=$(awk -v made="$made" -v all="$all" 'BEGIN {printf "%.4f", 1 - made / all}')
    row "a fourth, empty node joins (round robin): its share of answers without a render in the first minute, of $all" \
        "$share" ≥ 0.95 "$share"
}

# --- Something fails under load.

# failures LOG KILLED: `failed-hits hits failed-misses misses in-flight` of a paced log; in-flight are the misses that
# were active when the process was killed.
failures() {
    awk -v killed="$2" '
        $3 == "hit" {hits++; if ($4 != 200) failed_hits++}
        $3 == "miss" {misses++; if ($4 != 200) failed_misses++; if ($1 <= killed && $2 >= killed) flying++}
        END {print failed_hits + 0, hits + 0, failed_misses + 0, misses + 0, flying + 0}' "$1"
}
# back_after LOG TIME CLASS NODE: seconds from the time until the node has answered a request of the class that began
# after it; 999 if it never did.
back_after() {
    awk -v from="$2" -v class="$3" -v node="$4" '
        $1 > from && $3 == class && $4 == 200 && (node == "" || $6 == node) && (!first || $2 < first) {first = $2}
        END {printf "%.2f", first ? (first - from) / 1000 : 999}' "$1"
}
# slow_until LOG TIME: seconds from the time until the last miss ended that failed or took longer than a second.
slow_until() {
    awk -v from="$2" '$3 == "miss" && $2 > from && ($4 != 200 || $2 - $1 > 1000) && $2 > last {last = $2}
        END {printf "%.2f", last ? (last - from) / 1000 : 0}' "$1"
}
# failure_rows WHAT LOG KILLED BACK [MEANING]
failure_rows() {
    local hits failed_hits failed_misses misses flying slowest
    slowest=$(awk -v from="$3" '$1 > from && $2 - $1 > most {most = $2 - $1} END {printf "%.1f", most / 1000}' "$2")
    read -r failed_hits hits failed_misses misses flying < <(failures "$2" "$3")
    row "$1: failed hits, of $hits" "$failed_hits" ≤ 0 "$failed_hits"
    row "$1: failed misses, of $misses; the target is the number in flight" \
        "$failed_misses; the slowest answer took $slowest s" ≤ "$flying" "$failed_misses"
    row "$1: back after, in seconds${5:+ ($5)}" "$4" ≤ 5 "$4"
    bar "Seconds until it is back" "$1" "$4" s 5
}
# under_load SECONDS FIRST: three nodes with warm caches, and a paced load in the background.
under_load() {
    start_nodes "${results:+fail$2}" 1 2 3
    warm 1 2 3
    in_background "$work/paced" paced "$HASHED" 100 "$1" "$RATE" "$KEYS" "$2"
}
measure_kill() {
    local killed
    under_load 20 0
    sleep 6
    killed=$(now)
    kill -KILL "${node[2]}"
    # As a service manager restarts it: systemd after 100 ms.
    wait "${node[2]}" 2>/dev/null || true
    forget "${node[2]}"
    sleep 0.1
    start_node 2
    await "$background"
    failure_rows "SIGKILL of a node of ours under load" "$work/paced" "$killed" \
        "$(back_after "$work/paced" "$killed" hit n2)" "its next hit"
}
measure_garage() {
    local killed
    under_load 25 20000
    sleep 6
    killed=$(now)
    kill -KILL "${garage[2]}"
    wait "${garage[2]}" 2>/dev/null || true
    forget "${garage[2]}"
    sleep 8
    start_garage 2
    await "$background"
    failure_rows "SIGKILL of a Garage node under load" "$work/paced" "$killed" \
        "$(slow_until "$work/paced" "$killed")" "the end of the last miss of more than a second"
    wait_for manage 2 status
}
measure_cut() {
    local cut healed made
    under_load 55 40000
    sleep 6
    cut=$(now)
    # Packets of node 2 still arrive at the balancer of Garage, but no answer comes back.
    ip -n "$net-s3" route add blackhole 10.77.0.12/32
    sleep 30
    ip -n "$net-s3" route del blackhole 10.77.0.12/32
    healed=$(now)
    await "$background"
    made=$(awk -v cut="$cut" -v healed="$healed" '$1 > cut && $2 < healed && $3 == "miss" && $6 == "n2" && $4 == 200' "$work/paced" | wc -l)
    [ "$made" -eq 0 ] || fail "node 2 answered $made misses while it was cut off"
    failure_rows "a node of ours cut off from Garage for 30 s under load" "$work/paced" "$cut" \
        "$(back_after "$work/paced" "$healed" miss n2)" "its next miss after those 30 s"
}

# --- Changes.

# change_script NAME: writes $work/NAME.sh, which overwrites the object $1 with another original and then does what
# standard input says with `post`, curl with the secret.
change_script() {
    {
        cat <<BASH
set -eu
key=\$1
number=\${key//[!0-9]/}
other=\$(printf 'k%04d.jpg' \$(((10#\$number + $KEYS / 2) % $KEYS)))
curl -sSf ${signed[*]@Q} -T "$work/small/\$other" "http://10.77.0.3:3900/originals/\$key"
post() { curl -sSf -o "$work/answer.\$key" -X POST -H "Authorization: Bearer $admin_secret" "\$@"; }
BASH
        cat
    } >"$work/$1.sh"
}
# changes NAME FIRST COLUMN: changes $PURGES keys from FIRST on under load, four a second, with $work/NAME.sh. Sets $latest
# and $median to the seconds until the last old answer, which COLUMN has in ms.
changes() {
    start_nodes "$1" 1 2 3
    in_background "$work/paced" paced "$HASHED" 100 $((PURGES / 4 + PURGE_POLL + 3)) "$RATE" "$KEYS" $((60000 + $2))
    local load=$background
    tool change 10.77.0.11:8080,10.77.0.12:8080,10.77.0.13:8080 "$2" "$PURGES" 250 $((PURGE_POLL * 1000 + 3000)) \
        bash "$work/$1.sh" >"$work/$1"
    await "$load"
    awk '{if ($4 > 0) old++; failed += $5} END {if (old || failed) printf "bench: %d keys stayed old, %d requests failed\n", old, failed >"/dev/stderr"}' "$work/$1"
    latest=$(awk -v c="$3" '{ms = $4 > 0 ? 999000 : $c; if (ms > most) most = ms} END {printf "%.2f", most / 1000}' "$work/$1")
    median=$(awk -v c="$3" '{print $c}' "$work/$1" | median | awk '{printf "%.2f", $1 / 1000}')
}
measure_purge() {
    [ -n "$results" ] || return 0
    change_script purge <<'BASH'
post "http://10.77.0.11:9090/-/purge/h/$key"
BASH
    changes purge 300 3
    row "purge on node 1, $PURGES under load: seconds from its answer to the last old answer of any node (median $median)" \
        "$latest" ≤ $((PURGE_POLL + 1)) "$latest"
    bar "Seconds until the last old answer" "$PURGES purges, the latest" "$latest" s $((PURGE_POLL + 1))
}
measure_event() {
    [ -n "$results" ] || return 0
    # Garage sends none. This is what S3 sends:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    change_script event <<'BASH'
post -H 'Content-Type: application/json' --data-binary @- http://10.77.0.11:9090/-/events <<JSON
{"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": "$(date -u +%FT%T.%3NZ)",
  "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "originals"},
  "object": {"key": "$key", "sequencer": "$(date +%s%N | xargs printf '%016X')"}}}]}
JSON
BASH
    changes event 600 2
    row "object overwritten and its event sent to node 1, $PURGES under load: seconds from the begin of the overwrite to the last old answer of any node (median $median)" \
        "$latest" ≤ 5 "$latest"
    bar "Seconds until the last old answer" "$PURGES events, the latest" "$latest" s 5
}

# --- A shared hit against making it.

# each_cost NUMBER FIRST COUNT QUERY: `p50-ms cpu-ms shared misses failed` of one request after the other.
each_cost() {
    local before line
    before=$(ticks "${node[$1]}")
    line=$(tool each "10.77.0.1$1:8080" "${@:2}")
    awk -v t=$(($(ticks "${node[$1]}") - before)) '{printf "%s %.3f %d %d %d\n", $5, t * 10 / $1, $3, $4, $2}' <<<"$line"
}
shared_case() { # WHAT FIRST COUNT QUERY [targets]
    local made found latency cpu
    start_nodes "" 1
    made=$(each_cost 1 "${@:2:3}")
    start_nodes "shared$2" 1 2
    each_cost 1 "${@:2:3}" >"$work/first"
    sleep 3 # the last uploads
    found=$(each_cost 2 "${@:2:3}")
    [ "$(awk '{print $3}' <<<"$found")" -eq "$3" ] || fail "not every answer of the second node was shared: $found"
    latency=$(over "${found%% *}" "${made%% *}")
    cpu=$(over "$(awk '{print $2}' <<<"$found")" "$(awk '{print $2}' <<<"$made")")
    row "shared hit against making it, $1: latency p50" \
        "${found%% *} of ${made%% *} ms: $latency ×" ${5:+≤ 0.5 "$latency"}
    row "shared hit against making it, $1: CPU of the node" "$(awk '{print $2}' <<<"$found") of $(awk '{print $2}' <<<"$made") ms: $cpu ×" \
        ${5:+≤ 0.2 "$cpu"}
    bar "A shared hit, making it = 1" "$1: latency" "$latency" × ${5:+0.5}
    bar "A shared hit, making it = 1" "$1: CPU" "$cpu" × ${5:+0.2}
}
measure_shared() {
    [ -n "$results" ] || return 0
    shared_case "2 Mpx to 300 × 200 WebP" "$PHOTO" "$PHOTOS" 'w=300&h=200&f=webp' yes
    shared_case "400 × 300 to 240 × 180 JPEG" 0 $((KEYS < 500 ? KEYS : 500)) 'w=240&f=jpg'
}

# --- Hits of one, two and three nodes.

# hits COUNT: requests a second of the first COUNT nodes together.
hits() {
    local i all=()
    for ((i = 1; i <= $1; i++)); do
        ip netns exec "$net-lan" wrk -t1 -c16 -d"$TIME" "http://10.77.0.1$i:8080/h/k0000.jpg?w=240&f=jpg" \
            >"$work/wrk.$i" 2>&1 &
        all+=("$!")
        pids+=("$!")
    done
    for i in "${all[@]}"; do await "$i"; done
    if grep -hE 'Non-2xx|Socket errors' "$work"/wrk.* >&2; then fail "not every hit was answered"; fi
    for ((i = 1; i <= $1; i++)); do cat "$work/wrk.$i"; done | awk '/Requests\/sec/ {n += $2} END {printf "%.0f\n", n}'
}
measure_nodes() {
    local i count rate one worst=1
    start_nodes "" 1 2 3
    warm 1 2 3
    for i in 1 2 3; do confine "$i" "$SHARE" || fail "no control group limits the processor here"; done
    for i in 1 2 3; do for count in 1 2 3; do hits "$count" >>"$work/hits.$count"; done; done
    one=$(median <"$work/hits.1")
    for count in 1 2 3; do
        rate=$(median <"$work/hits.$count")
        worst=$(awk -v w="$worst" -v r="$rate" -v o="$one" -v n="$count" 'BEGIN {v = r / n / o; print (v < w) ? v : w}')
        bar "Hits a second, in thousands" "$count nodes" "$(over "$rate" 1000)" k "$(over $((one * count)) 1000)"
    done
    row "hits a second of 1, 2 and 3 nodes, each with $SHARE % of a processor: share of linear, the lowest" \
        "$one, $(median <"$work/hits.2"), $(median <"$work/hits.3"): $(over "$worst" 1)" ≥ 0.95 "$worst"
    stop_nodes
}

make_network
make_balancers
make_garage
"$TOOL" originals "$work/small" 0 "$KEYS" 400x300 examples/images/{photo.jpg,seedling.webp} >"$work/sizes"
upload "$work/small"
if [[ " ${chosen[*]} " == *" shared "* && -n "$results" ]]; then
    "$TOOL" originals "$work/photos" "$PHOTO" "$PHOTOS" 1664x1248 examples/images/photo.jpg >>"$work/sizes"
    upload "$work/photos"
fi
for row in "${chosen[@]}"; do "measure_$row"; done
[ $# -eq 0 ] || exit 0

mkdir -p "$RESULTS"
{
    echo "# Three nodes behind HAProxy"
    echo
    echo "$(nproc) processors ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r);"
    echo "$(haproxy -v | sed -n '1s/^\(HAProxy version [^ ]*\).*/\1/p'), Garage $GARAGE_VERSION with three nodes and replication 3; $(date -u +%F)."
    echo "Nodes, Garage, balancers and clients share the machine, each in a network namespace of its own."
    echo "Originals: $KEYS JPEGs of 400 × 300 ($(awk 'NR == 1 {printf "%.0f", $2 / $1 / 1024}' "$work/sizes") KB), three variants each;"
    echo "Zipf-distributed load with exponent $EXPONENT, $REQUESTS requests by 16 clients. Renders and fetches are counters of the nodes."
    echo
    echo "![Bars with their targets](cluster.svg)"
    echo
    echo "| what | measured | target | met |"
    echo "| --- | --- | --- | --- |"
    cat "$rows"
    echo
    echo "While something fails, $RATE requests a second come through HAProxy (hashed, configured as in docs/scaling.md):"
    echo "nine of ten are hits, one of ten is a variant that no node has."
} >"$RESULTS/cluster.md"
awk -f bench/cluster/plot.awk "$plot" >"$RESULTS/cluster.svg"
cat "$RESULTS/cluster.md"
