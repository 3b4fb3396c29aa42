// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE fence

#include "common/linux/fence.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <thread>

BOOST_FIXTURE_TEST_SUITE(fence_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_process_may_ask_again)
{
    BOOST_TEST(common::kernel::heed_heavy_fences() ==
               common::kernel::heeded_at_start);
}

// Each of two threads writes a word and looks at the other's.
BOOST_AUTO_TEST_CASE(a_heavy_fence_pays_for_a_light_one)
{
    if (!common::kernel::heeded_at_start)
    {
        BOOST_WARN_MESSAGE(false, "skipped: the kernel has no such fence");
        return;
    }
    struct alignas(64) word
    {
        std::atomic<int> value{0};
    };
    word hurried, slow, round, done;
    constexpr int rounds = 30'000;
    bool hurried_saw = false;
    std::jthread other([&] {
        for (int i = 1; i <= rounds; ++i)
        {
            while (round.value.load(std::memory_order_acquire) != i)
                std::this_thread::yield();
            hurried.value.store(i, std::memory_order_relaxed);
            common::kernel::light_fence();
            hurried_saw = slow.value.load(std::memory_order_relaxed) == i;
            done.value.store(i, std::memory_order_release);
        }
    });
    int missed = 0;
    for (int i = 1; i <= rounds; ++i)
    {
        round.value.store(i, std::memory_order_release);
        slow.value.store(i, std::memory_order_relaxed);
        common::kernel::heavy_fence();
        const bool saw = hurried.value.load(std::memory_order_relaxed) == i;
        while (done.value.load(std::memory_order_acquire) != i)
            std::this_thread::yield();
        missed += !saw && !hurried_saw;
    }
    BOOST_TEST(missed == 0);
}

BOOST_AUTO_TEST_SUITE_END()
