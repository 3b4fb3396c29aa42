#!/bin/bash
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# tour.sh PROGRAM...: the programs on real input, the headers of Boost that the
# build itself uses.  Each runs with one worker, with all, and with workers
# that get killed; the three answers must be the same, byte for byte.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for compiler in g++ clang++ c++; do
    boost=$(echo '#include <boost/version.hpp>' |
            "$compiler" -E -x c++ - 2> "$work/error" |
            sed -n 's|^# 1 "\(.*/boost\)/version.hpp".*|\1|p' | head -n 1)
    [ -z "$boost" ] || break
done
if [ -z "$boost" ]; then
    echo "tour: no compiler here finds the headers of Boost" >&2
    exit 1
fi
boost=$(realpath "$boost")
files=$(find "$boost" -type f | wc -l)
megabytes=$(find "$boost" -type f -exec cat {} + | wc -c |
            awk '{printf "%.0f", $1 / 1e6}') # and now it is all in memory

# job PATTERN: what it does, with which arguments, and how likely a task kills
# its worker.  OUTPUT stands for the file of its answer, if that is not stdout.
job() {
    chaos=0.02
    case $1 in
    worker_pool)
        what="SHA-256 of $files files"
        arguments=("$boost")
        ;;
    parallel_execution)
        what="Mandelbrot picture, 1600 x 1200"
        arguments=(--width 1600 --height 1200 --output OUTPUT)
        ;;
    producer_consumer)
        what="lines with 'include' in $megabytes MB"
        arguments=(include "$boost")
        ;;
    map_reduce)
        what="counts the words of $megabytes MB"
        arguments=("$boost" --top 0)
        chaos=0.2
        ;;
    master_worker)
        what="14 queens on a board"
        arguments=(--queens 14)
        ;;
    thread_pool_multiprocessing)
        what="a zoom of 40 frames, 320 x 240"
        arguments=(--frames 40 --size 320x240 --animation OUTPUT)
        ;;
    pipeline)
        what="gzip of $megabytes MB"
        [ -s "$work/headers" ] ||
            find "$boost" -type f -exec cat {} + > "$work/headers"
        arguments=("$work/headers" --output OUTPUT)
        ;;
    asynchronous_processing)
        what="120 tiles over HTTP, workers killed"
        arguments=(--drive 120)
        ;;
    shared_data)
        what="8 million transfers of money"
        arguments=(--accounts 10000 --transfers 8000000)
        chaos=0.00005
        ;;
    *)
        echo "tour: nothing to do for $1" >&2
        return 1
        ;;
    esac
}

progress() { # to a terminal only, past b2, which would hold it back
    { printf '%s\n' "$1" > /dev/tty; } 2> /dev/null
}

# run NAME PROGRAM OPTION...: leaves NAME.answer and NAME.stats.
run() {
    local name=$1 program=$2
    shift 2
    : > "$work/$name.answer"
    if ! "$program" "${arguments[@]/#OUTPUT/$work/$name.answer}" --stats "$@" \
        < /dev/null > "$work/$name.out" 2> "$work/$name.stats"; then
        echo "tour: $program ${arguments[*]} $* failed:"
        tail -n 5 "$work/$name.stats"
        return 1
    fi
    [ -s "$work/$name.answer" ] || mv "$work/$name.out" "$work/$name.answer"
}
statistic() { # statistic NAME KEY
    sed -n 's/.*"'"$2"'": *\([0-9.]*\).*/\1/p' "$work/$1.stats" | tail -n 1
}

rows=("pattern|what it did|time|speed-up|survived kills|output")
failed=0
for program; do
    pattern=${program##*/}
    job "$pattern" || { failed=1; continue; }
    progress "$pattern: $what: with one worker, with all, with kills"
    if run one "$program" --workers 1 && run all "$program" &&
        run killed "$program" --chaos "$chaos"; then
        output=identical
        for other in all killed; do
            cmp "$work/one.answer" "$work/$other.answer" || output=DIFFERENT
        done
        [ -s "$work/one.answer" ] || output=EMPTY
        workers=$(statistic all workers)
        time=$(printf '%.2f' "$(statistic all seconds)")
        speedup=$(awk -v one="$(statistic one seconds)" -v all="$time" \
            'BEGIN { if (all > 0) printf "%.2f", one / all }')
        rows+=("$pattern|$what|$time s|$speedup with $workers|$(
            statistic killed deaths)|$output")
        [ $output = identical ] || failed=1
    else
        rows+=("$pattern|$what||||FAILED")
        failed=1
    fi
done

echo
printf '%s\n' "${rows[@]}" | awk -F'|' '
    { for (i = 1; i <= NF; ++i) {
          cell[NR, i] = $i
          if (length($i) > width[i]) width[i] = length($i) } }
    END { for (row = 1; row <= NR; ++row) {
              line = ""
              for (i = 1; i <= 6; ++i)
                  line = line sprintf(i == 3 || i == 5 ? "%*s  " : "%-*s  ",
                                      width[i], cell[row, i])
              sub(/ +$/, "", line)
              print line } }'
exit $failed
