#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# report.sh NAME.test COMMAND...: what b2's own tests do.  The output goes into
# NAME.output, and is shown when the command fails; NAME.test says it passed.
target=$1
output=${target%.test}.output
shift
rm -f "$target"
"$@" > "$output" 2>&1 < /dev/null
status=$?
printf '\nEXIT STATUS: %d\n' "$status" >> "$output"
if [ "$status" -eq 0 ]; then
    echo passed > "$target"
else
    echo "====== BEGIN OUTPUT ======"
    cat "$output"
    echo "====== END OUTPUT ======"
fi
exit "$status"
