# The cluster of bench/cluster.sh, which sources this file after bench/lib.sh: Garage, two HAProxy, and nodes of ours,
# each in a network namespace of its own on one bridge. Nothing of it is reachable from the machine's own network.
#
#   lan 10.77.0.1   the bridge, and the clients            n1 … n4 10.77.0.11 …   nodes of ours: 8080, admin 9090
#   lb  10.77.0.2   HAProxy: 8001 hashed, 8002 round robin   g1 … g3 10.77.0.21 …   Garage: S3 3900, admin 3903
#   s3  10.77.0.3   HAProxy in front of Garage: 3900
# shellcheck shell=bash source=bench/lib.sh

GARAGE_VERSION=2.5.0
GARAGE_ROOT=${GARAGE_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/s3imageserver/garage-$GARAGE_VERSION}
# Less than 16 characters with a name: names of namespaces are only files, but they should be recognizable.
net=s3i$$
access=GK$(head -c 12 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
access_secret=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
admin_secret=a-secret-of-this-bench
# shellcheck disable=SC2034 # bench/cluster.sh ends them.
node=() garage=()
namespaces=() groups=()

# within NAME COMMAND…: runs a command in a namespace. In the background, `ip netns exec` has to be called itself, so
# that $! is the process.
within() { ip netns exec "$net-$1" "${@:2}"; }
ask() { within lan curl -sf --max-time 5 "$@"; }

# dismantle: ends everything, in any state of the setup.
dismantle() {
    trap - EXIT INT TERM
    local name
    [ ${#pids[@]} -eq 0 ] || end "${pids[@]}"
    for name in "${namespaces[@]}"; do ip netns del "$net-$name" 2>/dev/null || true; done
    for name in "${groups[@]}"; do rmdir "$name" 2>/dev/null || true; done
    rm -rf "${work:?}"
}
trap dismantle EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# install_garage: builds Garage once, without the parts that are not used.
install_garage() {
    [ -x "$GARAGE_ROOT/bin/garage" ] && return 0
    echo "building Garage $GARAGE_VERSION into $GARAGE_ROOT (once)"
    # Not into this repository's target, whose flags would not be right either: the directory is not in it.
    # Optimized less, which takes half the time to build.
    (cd / && CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_TARGET_DIR="$GARAGE_ROOT/target" cargo install garage --version "$GARAGE_VERSION" --locked \
        --root "$GARAGE_ROOT" --no-default-features --features bundled-libs,lmdb) ||
        fail "Garage could not be built"
    rm -rf "$GARAGE_ROOT/target"
}

# add_namespace NAME NUMBER: a namespace with the address 10.77.0.NUMBER on the bridge.
add_namespace() {
    ip netns add "$net-$1"
    namespaces+=("$1")
    ip -n "$net-$1" link set lo up
    ip -n "$net-lan" link add "to-$1" type veth peer name eth0 netns "$net-$1"
    ip -n "$net-lan" link set "to-$1" master lan up
    ip -n "$net-$1" addr add "10.77.0.$2/24" dev eth0
    ip -n "$net-$1" link set eth0 up
}

make_network() {
    ip netns add "$net-lan" || fail "there are no network namespaces here"
    namespaces+=(lan)
    ip -n "$net-lan" link set lo up
    ip -n "$net-lan" link add lan type bridge
    ip -n "$net-lan" addr add 10.77.0.1/24 dev lan
    ip -n "$net-lan" link set lan up
    add_namespace lb 2
    add_namespace s3 3
    local i
    for i in 1 2 3 4; do add_namespace "n$i" "1$i"; done
    for i in 1 2 3; do add_namespace "g$i" "2$i"; done
}

# --- Garage

start_garage() {
    ip netns exec "$net-g$1" env RUST_LOG=garage=warn "$GARAGE_ROOT/bin/garage" -c "$work/g$1.toml" server \
        >>"$work/g$1.log" 2>&1 &
    # shellcheck disable=SC2034 # bench/cluster.sh kills it
    garage[$1]=$!
    pids+=("$!")
}
# manage NUMBER COMMAND…: Garage's own command line on one of its nodes.
manage() { within "g$1" "$GARAGE_ROOT/bin/garage" -c "$work/g$1.toml" "${@:2}" >>"$work/garage.log" 2>&1; }
garage_id() { within "g$1" "$GARAGE_ROOT/bin/garage" -c "$work/g$1.toml" node id -q 2>>"$work/garage.log"; }

make_garage() {
    local i rpc_secret
    rpc_secret=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
    for i in 1 2 3; do
        mkdir -p "$work/g$i"
        cat >"$work/g$i.toml" <<TOML
metadata_dir = "$work/g$i/meta"
data_dir = "$work/g$i/data"
db_engine = "lmdb"
replication_factor = 3
rpc_bind_addr = "10.77.0.2$i:3901"
rpc_public_addr = "10.77.0.2$i:3901"
rpc_secret = "$rpc_secret"
[s3_api]
api_bind_addr = "10.77.0.2$i:3900"
s3_region = "garage"
root_domain = ".s3.garage"
[admin]
api_bind_addr = "10.77.0.2$i:3903"
TOML
        chmod 600 "$work/g$i.toml"
        start_garage "$i"
    done
    for i in 1 2 3; do wait_for manage "$i" status; done
    for i in 2 3; do manage 1 node connect "$(garage_id "$i")" || fail "$(tail -n 5 "$work/garage.log")"; done
    for i in 1 2 3; do
        manage 1 layout assign -z "zone$i" -c 10GB "$(garage_id "$i" | cut -c1-64)" || fail "$(tail -n 5 "$work/garage.log")"
    done
    manage 1 layout apply --version 1 || fail "$(tail -n 5 "$work/garage.log")"
    wait_for manage 1 key import --yes -n cluster "$access" "$access_secret"
    for i in originals results; do
        wait_for manage 1 bucket create "$i"
        wait_for manage 1 bucket allow --read --write "$i" --key "$access"
    done
}

# upload DIRECTORY: puts its files into the bucket of the originals. curl signs, so this is independent of our signatures.
signed=(--aws-sigv4 aws:amz:garage:s3 --user "$access:$access_secret" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD")
upload() {
    local file
    for file in "$1"/*; do
        printf 'upload-file="%s"\nurl="http://10.77.0.3:3900/originals/%s"\n' "$file" "${file##*/}"
    done >"$work/uploads"
    within lan curl -sSf --parallel --parallel-max 8 "${signed[@]}" -K "$work/uploads" >"$work/upload.log" 2>&1 ||
        fail "an upload failed: $(tail -n 3 "$work/upload.log")"
}

# --- The balancers

# balancer NAME: starts HAProxy with $work/NAME.cfg in the namespace of this name.
balancer() {
    ip netns exec "$net-$1" haproxy -db -f "$work/$1.cfg" >>"$work/$1.log" 2>&1 &
    pids+=("$!")
}

# The blocks are those of docs/scaling.md, with shorter intervals.
make_balancers() {
    local -A port=([hashed]=8001 [robin]=8002)
    local -A balance=([hashed]=$'uri\n    hash-type consistent' [robin]=roundrobin)
    local i name common="global
    maxconn 4000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 75s
    timeout http-keep-alive 55s
    option redispatch 1
    retries 3"
    {
        echo "$common"
        echo "frontend s3
    bind 10.77.0.3:3900
    default_backend garage
backend garage
    balance leastconn
    retry-on conn-failure empty-response
    option httpchk GET /health"
        for i in 1 2 3; do echo "    server g$i 10.77.0.2$i:3900 check port 3903 inter 500 fall 2 rise 1"; done
    } >"$work/s3.cfg"
    {
        echo "$common"
        for name in hashed robin; do
            echo "frontend $name
    bind 10.77.0.2:${port[$name]}
    default_backend $name
backend $name
    balance ${balance[$name]}"
            echo "    retry-on conn-failure empty-response 502 504
    option httpchk GET /-/ready
    http-response set-header X-Node %s"
            for i in 1 2 3 4; do echo "    server n$i 10.77.0.1$i:8080 check inter 500 fall 2 rise 1"; done
        done
    } >"$work/lb.cfg"
    balancer s3
    balancer lb
}

# --- Nodes of ours

bucket() {
    cat <<JSON
{"bucket_name": "$1", "file_path": "$2", "endpoint": "http://10.77.0.3:3900", "region": "garage",
  "aws_access": "$access", "aws_secret": "$access_secret"}
JSON
}

# configure NUMBER [RESULTS]: a node with an empty cache; with RESULTS, a directory in the bucket for shared results.
configure() {
    rm -rf "$work/n$1"
    mkdir "$work/n$1"
    cat >"$work/n$1.json" <<JSON
{"handlers": [{"name": "h", "aws": $(bucket originals ""),
  ${2:+"\"results\": $(bucket results "$2"), \"share_min_ms\": 0,"}
  "cache_path": "$work/n$1/cache", "max_variants": 0, "error_status": "precise"}],
 "http_port": 8080, "access_log": false, "trusted_proxies": ["10.77.0.2"],
 "limits": {"connections_per_address": 1000},
 "admin": {"address": "10.77.0.1$1:9090", "secret": "$admin_secret"}}
JSON
}
start_node() {
    ip netns exec "$net-n$1" "$SERVER" -c "$work/n$1.json" 2>>"$work/n$1.log" &
    node[$1]=$!
    pids+=("$!")
}
is_ready() { ask -o "$work/ready" "http://10.77.0.1$1:8080/-/ready"; }
# start_nodes RESULTS NUMBER…: nodes with empty caches that replace all running ones; RESULTS may be empty.
start_nodes() {
    local i
    stop_nodes
    for i in "${@:2}"; do
        configure "$i" "$1"
        start_node "$i"
    done
    for i in "${@:2}"; do wait_for is_ready "$i"; done
    # The balancer's checks have noticed: two of them, half a second apart.
    sleep 1.5
}
stop_nodes() {
    [ ${#node[@]} -eq 0 ] || end "${node[@]}"
    node=()
}

# metric NUMBER PATTERN: the sum of the samples of a node that match.
metric() {
    ask -H "Authorization: Bearer $admin_secret" "http://10.77.0.1$1:9090/-/metrics" |
        awk -v pattern="$2" '$0 ~ pattern {n += $NF} END {printf "%d\n", n}'
}
rendered() { metric "$1" '^s3imageserver_variants_total[{].*result="rendered"'; }
fetched() { metric "$1" '^s3imageserver_origin_fetch_duration_seconds_count[{]'; }
answered() { metric "$1" '^s3imageserver_http_requests_total[{].*handler="h"'; }

# --- Limits of the processor, in either version of control groups

# confine NUMBER PERCENT: gives a node at most this share of one processor, in slices of 20 ms.
confine() {
    local group pid
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        group=/sys/fs/cgroup/$net-n$1
        echo +cpu >/sys/fs/cgroup/cgroup.subtree_control && mkdir "$group" || return
        groups+=("$group")
        echo "$(($2 * 200)) 20000" >"$group/cpu.max" || return
    else
        group=/sys/fs/cgroup/cpu/$net-n$1
        mkdir "$group" || return
        groups+=("$group")
        echo 20000 >"$group/cpu.cfs_period_us" && echo $(($2 * 200)) >"$group/cpu.cfs_quota_us" || return
    fi
    for pid in $(family "${node[$1]}"); do echo "$pid" >"$group/cgroup.procs" || return; done
}
