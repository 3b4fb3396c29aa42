// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

namespace common::kernel {

/// CPUs that this process may use at once: its affinity mask, cut to the
/// quotas of its control group (version 2) and of those above it, at least 1.
inline unsigned usable_cpus()
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    unsigned cpus = 1;
    if (::sched_getaffinity(0, sizeof mask, &mask) == 0)
        cpus = static_cast<unsigned>(std::max(1, CPU_COUNT(&mask)));

    const std::string root = "/sys/fs/cgroup";
    std::string line, quota;
    double period = 0;
    std::ifstream group("/proc/self/cgroup");
    while (std::getline(group, line)) // ends with the file
    {
        if (line.rfind("0::", 0) != 0)
            continue;
        auto place = root + line.substr(3);
        for (; place.size() >= root.size(); place.resize(place.rfind('/')))
        { // ends above the root
            std::ifstream limit(place + "/cpu.max");
            if (limit >> quota >> period && quota != "max" && period > 0)
                cpus = std::min(
                    cpus, static_cast<unsigned>(std::max(
                              1.0, std::ceil(std::stod(quota) / period))));
        }
    }
    return cpus;
}

/// Confines this thread, and those that it starts, to part number `part` (from
/// 0 on) of so many equal parts of the CPUs that it may use.  Parts share CPUs
/// where there are fewer CPUs than parts.  Without effect where the kernel
/// refuses.
inline void use_part_of_cpus(unsigned part, unsigned parts)
{
    cpu_set_t mask, mine;
    CPU_ZERO(&mask);
    CPU_ZERO(&mine);
    if (::sched_getaffinity(0, sizeof mask, &mask) != 0)
        return;
    const auto all = static_cast<unsigned>(CPU_COUNT(&mask));
    const unsigned first = all < parts ? part % all : part * all / parts;
    const unsigned last =
        all < parts ? first + 1 : (part + 1) * all / parts; // behind it
    for (unsigned cpu = 0, seen = 0; cpu < CPU_SETSIZE && seen < last; ++cpu)
        if (CPU_ISSET(cpu, &mask) && seen++ >= first)
            CPU_SET(cpu, &mine);
    ::sched_setaffinity(0, sizeof mine, &mine);
}

} // namespace common::kernel
