#!/usr/bin/env bash
# Copies tables of bench/results into the documents, between a line `<!-- bench:… -->` and a line `<!-- /bench -->`:
#
#   <!-- bench:FILE TABLE [columns=N] [rows=PATTERN] -->   the table with this number in bench/results/FILE, its first
#                                                          N columns, the rows whose first column matches the pattern
#   <!-- bench:unmet -->                                   every target in bench/results that was not met
#
# usage: bench/publish.sh [--check] [FILE…]    --check changes nothing and fails when a document differs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check=
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
[ $# -gt 0 ] || set -- README.md docs/performance.md docs/scaling.md

published() {
    LC_ALL=C awk -v results=bench/results '
    function fail(why) { print "bench/publish.sh: " why >"/dev/stderr"; failed = 1; exit 1 }
    function trimmed(text) { gsub(/^ +| +$/, "", text); return text }

    # Prints the table, or with unmet = 1 the rows of every table whose target was not met.
    function tables(file, wanted, columns, pattern, unmet,    line, number, inside, cells, count, i, title, met, found) {
        while ((getline line <(results "/" file)) > 0) {
            if (line ~ /^#+ /) { title = line; sub(/^#+ /, "", title) }
            if (line !~ /^\|/) { inside = 0; continue }
            if (!inside) { inside = 1; number++; head = 2; met = 0 } else if (head) head--
            count = split(line, cells, "|") - 1
            if (head == 2) for (i = 2; i <= count; i++) if (trimmed(cells[i]) == "met") met = i
            if (unmet) {
                if (!head && met && cells[met] ~ /no/)
                    printf "| %s: %s | %s | %s | [%s](%s/%s) |\n", title, trimmed(cells[2]), trimmed(cells[met - 2]), trimmed(cells[met - 1]), file, link, file
                continue
            }
            if (number != wanted || (!head && pattern != "" && trimmed(cells[2]) !~ pattern)) continue
            if (!head) found = 1
            if (!columns || columns >= count) columns = count - 1
            for (i = 2; i <= columns + 1; i++) printf "|%s", cells[i]
            print "|"
        }
        close(results "/" file)
        if (!unmet && !found) fail(FILENAME ": no such row in bench/results/" file ": " $0)
    }

    /^<!-- bench:/ {
        print
        inside_block = 1
        link = FILENAME ~ /^docs\// ? "../bench/results" : "bench/results"
        marker = $0
        sub(/^<!-- bench:/, "", marker); sub(/ -->$/, "", marker)
        if (marker == "unmet") {
            print "| target not met | measured | target | results |"
            print "| --- | --- | --- | --- |"
            n = split("edge.md render.md avif.md cache.md cluster.md", files, " ")
            for (f = 1; f <= n; f++) tables(files[f], 0, 0, "", 1)
            next
        }
        pattern = ""; columns = 0
        if (match(marker, / rows=.*/)) { pattern = substr(marker, RSTART + 6); marker = substr(marker, 1, RSTART - 1) }
        if (match(marker, / columns=[0-9]+/)) { columns = substr(marker, RSTART + 9) + 0; marker = substr(marker, 1, RSTART - 1) }
        if (split(marker, word, " ") != 2) fail(FILENAME ": not a marker: " $0)
        tables(word[1], word[2] + 0, columns, pattern, 0)
        next
    }
    /^<!-- \/bench -->/ { inside_block = 0 }
    !inside_block
    END { if (!failed && inside_block) fail(FILENAME ": a marker has no <!-- /bench -->") }
    ' "$1"
}

status=0
for document; do
    text=$(published "$document")
    if [ -n "$check" ]; then
        diff -u "$document" - <<<"$text" || status=1
    else
        cat <<<"$text" >"$document"
    fi
done
exit $status
