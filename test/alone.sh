#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# alone.sh SOURCE... -- HEADER...: prints the headers that no source begins
# with.  What a source includes first, and what that includes first, and so on,
# is compiled there with nothing before it: that it stands alone is known.
set -u
cd "$(dirname "$0")/.." || exit 1
first() { # first FILE: what it includes first, as a path from here
    name=$(sed -n 's/^ *# *include *//p' "$1" | head -n 1)
    case $name in
    '"'*) name=${name#?} name=${name%%\"*} ;;
    *) return ;;
    esac
    for path in "$(dirname "$1")/$name" "$name"; do
        if [ -f "$path" ]; then
            echo "$path"
            return
        fi
    done
}
known=' '
while [ "$1" != -- ]; do
    at=$1
    shift
    while at=$(first "$at") && [ -n "$at" ]; do # ends: includes are a tree
        case $known in
        *" $at "*) break ;;
        esac
        known="$known$at "
    done
done
shift
for header; do
    case $known in
    *" $header "*) ;;
    *) echo "$header" ;;
    esac
done
