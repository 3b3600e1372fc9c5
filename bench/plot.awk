# Draws bench/results/edge.svg from the numbers of edge.sh: bars of ratios with their targets, and bars of latency.
#
#   ratio    label  ratio  ≥|≤  target  yes|no|–
#   latency  label  with the renderer idle  busy  yes|no|–

BEGIN {
    FS = "\t"
    colour["yes"] = "#2e7d4f"; colour["no"] = "#c2571a"; colour["–"] = "#8a94a0"
    left = 330; width = 420; step = 24
}
$1 == "ratio" { ratios[++r] = $0; if ($3 > widest) widest = $3; if ($5 > widest) widest = $5 }
$1 == "latency" { latencies[++l] = $0; if ($4 > slowest) slowest = $4; if ($3 > slowest) slowest = $3 }

function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
function words(x, y, anchor, text, more) {
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, more, escaped(text)
}
function bar(y, height, length_, fill) {
    printf "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, y, length_, height, fill
}
function line(x, top, bottom, look) {
    printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#222\" %s/>\n", x, x, top, bottom, look
}

END {
    if (!widest || !slowest) { print "plot.awk: nothing to draw" >"/dev/stderr"; exit 1 }
    top = 62
    below = top + r * step + 84
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 %d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n", below + l * step + 36
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    words(20, 26, "start", "Ratio to nginx", " font-size=\"16\" font-weight=\"bold\"")
    words(20, 44, "start", "thick line: target · green: met · orange: not met · grey: no target", " fill=\"#555\"")
    unit = width / widest
    line(left + unit, top - 4, top + r * step, "stroke-dasharray=\"3 3\"")
    words(left + unit, top + r * step + 14, "middle", "nginx = 1", " fill=\"#555\"")
    for (i = 1; i <= r; i++) {
        split(ratios[i], f, "\t")
        y = top + (i - 1) * step
        words(left - 10, y + 14, "end", f[2])
        bar(y + 3, 16, f[3] * unit, colour[f[6]])
        if (f[5] != "") line(left + f[5] * unit, y, y + 22, "stroke-width=\"3\"")
        words(left + width + 12, y + 15, "start", sprintf("%.2f", f[3]) (f[5] == "" ? "" : "  (" f[4] " " f[5] ")"))
    }
    words(20, below - 32, "start", "Latency of a hit, milliseconds", " font-size=\"16\" font-weight=\"bold\"")
    words(20, below - 14, "start", "upper bar: renderer idle · lower bar: every slot taken and the queue full", " fill=\"#555\"")
    unit = width / slowest
    for (i = 1; i <= l; i++) {
        split(latencies[i], f, "\t")
        y = below + (i - 1) * step
        words(left - 10, y + 15, "end", f[2])
        bar(y + 3, 8, f[3] * unit, "#b9c1c9")
        bar(y + 11, 8, f[4] * unit, colour[f[5]])
        words(left + width + 12, y + 15, "start", sprintf("%.3f → %.3f", f[3], f[4]))
    }
    print "</svg>"
}
