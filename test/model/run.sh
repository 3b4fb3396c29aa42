#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# run.sh [DIRECTORY] [MODEL.pml...]: has Spin try every interleaving of the
# models; without a name, of all that stand beside this script.  It works in
# DIRECTORY, or in a temporary one, and leaves nothing there.
#
# A model says in its comments what must hold, and what must not:
#
#   // verify: SPIN OPTIONS | GCC OPTIONS | PAN OPTIONS
#   // refute: SPIN OPTIONS | GCC OPTIONS | PAN OPTIONS
#   //   says: the error that must be found (a basic regular expression)
#
# A search that was cut short, by depth or by memory, is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
for tool in spin gcc; do
    if ! command -v $tool > /dev/null; then
        echo "$tool is missing: the package '$tool' of Debian has it" >&2
        echo "0 passed, 1 failed"
        exit 1
    fi
done

parent=${TMPDIR:-/tmp}
case ${1-} in
*.pml | '') ;;
*)  mkdir -p "$1" || exit 1
    parent=$(cd "$1" && pwd)
    shift ;;
esac
[ $# -gt 0 ] || set -- "$here"/*.pml
scratch=$(mktemp -d "$parent/model.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Verdict, options and expected error of each check, one a line.
checks() {
    awk '
        /^\/\/ (verify|refute):/ {
            if (one != "") print one
            sub(/^\/\/ /, ""); sub(/: */, "|"); one = $0
            next
        }
        one != "" {
            if (sub(/^\/\/ *says: */, "")) one = one "|" $0
            print one; one = ""
        }
        END { if (one != "") print one }' "$1"
}

search() { # SPIN OPTIONS, GCC OPTIONS, PAN OPTIONS: lists of options
    rm -f pan* ./*.trail
    # shellcheck disable=SC2086
    spin $1 -a "$model" && gcc -O1 -DMEMLIM=4000 $2 -o pan pan.c && ./pan $3
}

passed=0 failed=0
for model; do
    directory=$(cd "$(dirname "$model")" && pwd) || exit 1
    model=$directory/$(basename "$model")
    checks "$model" > "$scratch/checks"
    [ -s "$scratch/checks" ] || echo 'none|||' > "$scratch/checks"
    while IFS='|' read -r verdict spin gcc pan says; do
        start=$(date +%s)
        (cd "$scratch" && search "$spin" "$gcc" "$pan") \
            > "$scratch/said" 2>&1 < /dev/null
        seconds=$(($(date +%s) - start))
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' \
            "$scratch/said")
        if grep -q -e 'max search depth too small' -e 'out of memory' \
            -e 'reached -DMEMLIM' "$scratch/said"; then
            result='cut short'
        elif grep -q 'errors: 0$' "$scratch/said"; then
            result=verify
        elif grep -q "^pan:1: .*${says:-.}" "$scratch/said"; then
            result=refute
        else
            result='no result'
        fi
        what="$(basename "$model") $verdict $spin: ${states:-no} states,"
        if [ "$result" = "$verdict" ]; then
            passed=$((passed + 1))
            echo "ok      $what $seconds s"
        else
            failed=$((failed + 1))
            echo "FAILED  $what $seconds s; the result is: $result"
            tail -n 40 "$scratch/said"
        fi
    done < "$scratch/checks"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
