# The capacity model of docs/scaling.md: nodes and the monthly price on AWS for one or more loads. Every assumption can be
# changed: awk -v hit=0.95 -v shared=0.03 -v vcpu_hour=0.05 -f contrib/scaling/capacity.awk
#
# Times are CPU milliseconds of docs/performance.md, rounded up; prices are US dollars, us-east-1, on demand.

function set(value, default_) { return value == "" ? default_ : value }

# The price of outgoing GB a month, by AWS's tiers.
function egress(gb,    left, price, i, step, rate) {
    split("10240 40960 102400 1e18", step, " ")
    split("0.09 0.085 0.07 0.05", rate, " ")
    left = gb
    for (i = 1; i <= 4 && left > 0; i++) {
        price += (left < step[i] ? left : step[i]) * rate[i]
        left -= step[i]
    }
    return price
}
function name(images) { return (images >= 1e9) ? images / 1e9 " billion" : images / 1e6 " million" }
function whole(value) { return value == int(value) ? value : int(value) + 1 }

BEGIN {
    loads = set(loads, "1e6 1e7 1e8 1e9")       # images a day
    peak = set(peak, 3)                          # the busiest second, compared with the mean
    hit = set(hit, 0.98)                          # shares of the requests that reach a node: local hits,
    shared = set(shared, 0.015)                # shared hits; the rest is rendered
    hit_ms = set(hit_ms, 0.05)                 # a hit that is read from disk, among a million entries
    render_ms = set(render_ms, 20)          # 2 Mpx to 300 x 200 WebP
    shared_ms = set(shared_ms, 2)           # bench/results/cluster.md
    used = set(used, 0.6)                        # of the processors, at the peak
    vcpus = set(vcpus, 4)                       # of a node
    kilobytes = set(kilobytes, 20)          # of an image
    kept_days = set(kept_days, 30)          # how long the lifecycle rule keeps a result
    poll = set(poll, 2)                          # purge_poll
    vcpu_hour = set(vcpu_hour, 0.0425)      # c5.2xlarge: 0.34 for 8
    get_1000 = set(get_1000, 0.0004)
    put_1000 = set(put_1000, 0.005)          # PUT and LIST
    gb_month = set(gb_month, 0.023)
    days = 30.4
    rendered = 1 - hit - shared
    if (rendered < 0) { print "capacity.awk: hit + shared is more than 1" >"/dev/stderr"; exit 1 }
    print "| images a day | at the peak, a second | processors | nodes of " vcpus " | Gbit/s at the peak | instances | S3 requests | results stored | traffic to the internet |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    count = split(loads, load, " ")
    for (i = 1; i <= count; i++) {
        second = load[i] / 86400 * peak
        processors = second * (hit * hit_ms + shared * shared_ms + rendered * render_ms) / 1000 / used
        # One can fail.
        nodes = whole(processors / vcpus) + 1
        gigabits = second * kilobytes * 8 / 1e6
        # A shared hit is a GET; a render is a GET that finds nothing, the GET of the original, and a PUT.
        requests = days * load[i] * ((shared + 2 * rendered) * get_1000 + rendered * put_1000) / 1000
        requests += nodes * days * 86400 / poll * put_1000 / 1000
        stored = load[i] * rendered * kept_days * kilobytes / 1e6 * gb_month
        printf "| %s | %.0f | %.1f | %d | %.2f |", name(load[i] + 0), second, processors, nodes, gigabits
        printf " $%.0f | $%.0f | $%.0f | $%.0f |\n", nodes * vcpus * 730 * vcpu_hour, requests, stored, egress(days * load[i] * kilobytes / 1e6)
    }
}
