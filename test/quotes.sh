#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# A page quotes its program by tag: a block of code behind the line
# <!-- main.cpp#tag --> must be that region of the file, to the letter.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
for page in patterns/*/README.md; do
    marks=$(sed -n 's/^<!-- \([^ ]*#[^ ]*\) -->$/\1/p' "$page")
    if [ -z "$marks" ]; then
        echo "$page quotes nothing"
        failed=$((failed + 1))
    fi
    for mark in $marks; do
        source=$(dirname "$page")/${mark%#*}
        tag=${mark#*#}
        awk -v mark="<!-- $mark -->" '
            on == 2 && /^```/ { exit }
            on == 2 { print }
            on == 1 && /^```/ { on = 2 }
            $0 == mark { on = 1 }' "$page" > "$work/page"
        awk -v tag="$tag" '
            index($0, "// end::" tag "[]") { exit }
            on { print }
            index($0, "// tag::" tag "[]") { on = 1 }' "$source" > "$work/source"
        if [ -s "$work/page" ] && diff "$work/source" "$work/page"; then
            passed=$((passed + 1))
        else
            echo "$page does not quote $mark"
            failed=$((failed + 1))
        fi
    done
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
