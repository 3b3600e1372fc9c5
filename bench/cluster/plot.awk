# Draws bench/results/cluster.svg from the numbers of bench/cluster.sh: groups of bars, each group on a scale of its own.
#
#   group  label  value  unit  target
#
# A target is a thick line: the longest bar that is met, except for hits a second, where it is the shortest.

BEGIN { FS = "\t"; left = 330; width = 420; step = 24 }
{
    if (!($1 in size)) group[++groups] = $1
    number = ++size[$1]
    bars[$1, number] = $0
    if ($3 + 0 > most[$1]) most[$1] = $3 + 0
    if ($5 + 0 > most[$1]) most[$1] = $5 + 0
}

function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
function words(x, y, anchor, text, more) {
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, more, escaped(text)
}

END {
    if (!groups) { print "plot.awk: nothing to draw" >"/dev/stderr"; exit 1 }
    height = 20
    for (g = 1; g <= groups; g++) height += 44 + size[group[g]] * step
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 %d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n", height
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    y = 0
    for (g = 1; g <= groups; g++) {
        title = group[g]
        y += 30
        words(20, y, "start", title, " font-size=\"16\" font-weight=\"bold\"")
        y += 14
        for (i = 1; i <= size[title]; i++) {
            split(bars[title, i], f, "\t")
            unit = most[title] > 0 ? width / most[title] : 0
            larger = title ~ /^Hits/
            met = f[5] == "" ? "none" : (larger ? f[3] >= 0.95 * f[5] : f[3] <= f[5] + 0) ? "yes" : "no"
            fill = met == "yes" ? "#2e7d4f" : met == "no" ? "#c2571a" : "#8a94a0"
            words(left - 10, y + 14, "end", f[2])
            printf "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n", left, y + 3, f[3] * unit, fill
            if (f[5] != "") printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#222\" stroke-width=\"3\"/>\n", left + f[5] * unit, left + f[5] * unit, y, y + 22
            words(left + width + 12, y + 15, "start", sprintf("%.2f %s", f[3], f[4]))
            y += step
        }
    }
    print "</svg>"
}
