#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# Who may include what:
#
#   test/                       everything below
#   patterns/X/main.cpp         "X.hpp", common/, libraries, std
#   patterns/X/*.hpp            its own headers, common/, Boost, std
#   common/*.hpp                common/ without cycles, Boost, std
#   common/linux/*.hpp          common/linux/; alone in calling the kernel
cd "$(dirname "$0")/.." || exit 1
failed=0

# complain RULE LINES: the lines break the rule, if there are any.
complain() {
    if [ -n "$2" ]; then
        printf '%s:\n%s\n\n' "$1" "$2"
        failed=1
    fi
}

# includes FILE...: FILE:LINE:NAME of what is included in quotes.
includes() {
    grep -nH '^ *# *include *"' "$@" /dev/null |
        sed 's/^\([^:]*:[0-9]*:\).*include *"\([^"]*\)".*/\1\2/'
}

complain "a path that leads upwards" \
    "$(find common patterns -name '*.[hc]pp' -exec grep -nH '"\.\./' {} +)"

for folder in patterns/*/; do
    own=$(cd "$folder" && ls ./*.hpp 2>/dev/null | sed 's|^\./||' | tr '\n' '|')
    complain "a pattern includes what is neither its own nor of common/" \
        "$(includes "$folder"*.[hc]pp |
           grep -Ev ":(${own}common/.*\.hpp)$")"
    complain "main.cpp does not include its pattern" \
        "$(grep -L "\"$(basename "$folder").hpp\"" "$folder"main.cpp)"
done

complain "common/ includes what is not of common/" \
    "$(includes common/*.hpp | grep -v ':common/')"
complain "common/linux/ includes what is not of common/linux/" \
    "$(includes common/linux/*.hpp | grep -v ':common/linux/')"

# tsort names a loop, which is what makes levels impossible.
complain "the headers of common/ include each other in a circle" \
    "$(includes common/*.hpp common/linux/*.hpp |
       sed 's/:[0-9]*:/ /' | tsort 2>&1 >/dev/null)"

complain "a header includes a library other than Boost" \
    "$(find common patterns -name '*.hpp' -exec \
       grep -nHE '^ *# *include *<(openssl|tbb|zlib|png)' {} +)"

kernel='<linux/|<sys/(eventfd|epoll|prctl|signalfd|syscall|timerfd|inotify)\.h>'
kernel="$kernel|<sched\.h>|<spawn\.h>"
kernel="$kernel|[^_[:alnum:]](syscall|prctl|memfd_create|pidfd_open|pidfd_[a-z_]*|posix_spawnp?|eventfd|epoll_[a-z]*|sched_[gs]etaffinity|close_range) *\("
complain "the kernel is called outside common/linux/" \
    "$(grep -nHE "$kernel" common/*.hpp patterns/*/*.[hc]pp 2>/dev/null |
       grep -vE ':[0-9]+: *//|kernel::')"

# They block for ever once a process has died in or near them.
blocking='interprocess_(condition|semaphore|mutex|recursive_mutex)'
blocking="$blocking|interprocess_(sharable|upgradable)_mutex|message_queue"
blocking="$blocking|named_[a-z_]*(mutex|condition|semaphore)"
blocking="$blocking|managed_(shared_memory|mapped_file)"
complain "a type that does not survive a death (see design: counter-examples)" \
    "$(grep -nHE "$blocking" common/*.hpp common/linux/*.hpp \
       patterns/*/*.[hc]pp 2>/dev/null | grep -vE ':[0-9]+: *//')"

exit $failed
