// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#include "common/process.hpp"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

bool init_unit_test(); // BOOST_TEST_MODULE defines it in the file of laws

/// The main of every test program: workers are this program started again.
int main(int argc, char* argv[])
{
    // What test/processes.hpp knows our processes by.  Set before the program
    // starts: that is the environment which a forked process shows.
    if (std::getenv("COMMON_TEST") == nullptr)
    {
        ::setenv("COMMON_TEST", std::to_string(::getpid()).c_str(), 1);
        // A crash must stay a crash: Boost.Test would turn the signal into an
        // error and go on in a process that is no longer sound.
        ::setenv("BOOST_TEST_CATCH_SYSTEM_ERRORS", "no", 1);
        ::execv("/proc/self/exe", argv);
        std::perror("starting over");
        return 1;
    }
    common::worker_main(argc, argv);
    // The thread that starts processes stays: no case is to blame for it.
    common::process([] {}).join();
    return boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
}
