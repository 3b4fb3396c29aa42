// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE shared_data_named

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/patterns/shared_data_workers.hpp"
#include "test/run_program.hpp"
#include "test/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace test;
using common::process;
using common::shared;
using shared_data::clock;
using shared_data::named;

using number = named<std::atomic<int>>;
using flag = shared<std::atomic<int>>;

/// A name that nobody else has, gone at the end.
struct unique
{
    explicit unique(const std::string& what)
        : name("common_" + what + "." + std::to_string(::getpid()))
        , path("/dev/shm/" + name)
    {
    }
    ~unique() { ::unlink(path.c_str()); }
    std::string name, path;

    bool exists() const
    {
        struct stat info;
        return ::lstat(path.c_str(), &info) == 0;
    }
};

/// Runs a body in a forked child, which says by its exit code how it went.
int forked(const std::function<int()>& body)
{
    const pid_t child = ::fork();
    if (child == 0)
    {
        int code = 99;
        try
        {
            code = body();
        }
        catch (...)
        {
        }
        ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// The errno of the system_error that `f` throws; 0 if it throws none.
template <class F>
int error_of(F f)
{
    try
    {
        f();
        return 0;
    }
    catch (const std::system_error& e)
    {
        BOOST_TEST_MESSAGE(e.what());
        return e.code().value();
    }
}

constexpr uid_t nobody = 65534;

bool root()
{
    if (::geteuid() == 0)
        return true;
    BOOST_TEST_MESSAGE("SKIPPED: this needs another user, so it needs root");
    BOOST_WARN_MESSAGE(false, "skipped: not root");
    return false;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(named_laws, test::clean)

BOOST_AUTO_TEST_CASE(who_attaches_sees_what_the_creator_sees)
{
    const unique its("seen");
    {
        const auto mine = number::create(its.name, 5);
        struct stat info;
        ::stat(its.path.c_str(), &info);
        BOOST_TEST((info.st_mode & 0777) == 0600u);
        process other(
            [](std::string name) {
                const auto same = number::attach(name);
                return *same == 5 ? *same = 6, 0 : 1;
            },
            its.name);
        BOOST_TEST(other.join().success());
        BOOST_TEST(*mine == 6);
        BOOST_TEST(its.exists()); // the guest has not taken it away
    }
    BOOST_TEST(!its.exists());
    BOOST_TEST(error_of([&] { number::attach(its.name); }) == ENOENT);
}

BOOST_AUTO_TEST_CASE(a_name_in_use_is_refused)
{
    const unique its("used");
    const auto mine = number::create(its.name, 5);
    BOOST_TEST(error_of([&] { number::create(its.name, 6); }) == EEXIST);
    BOOST_TEST(*mine == 5);
    BOOST_TEST(*number::attach(its.name) == 5);
}

BOOST_AUTO_TEST_CASE(it_lives_as_long_as_anybody_uses_it)
{
    const unique its("lives");
    flag stage{0};
    process guest(
        [](common::stop_token stop, std::string name, flag s) {
            while (*s == 0) // until it is created
                std::this_thread::yield();
            const auto same = number::attach(name);
            *s = 2;
            stop.wait_until(common::time_point::max());
        },
        its.name, stage);
    {
        const auto mine = number::create(its.name, 5);
        *stage = 1;
        BOOST_REQUIRE(eventually([&] { return *stage == 2; }));
    }
    BOOST_TEST(its.exists());
    BOOST_TEST(*number::attach(its.name) == 5);
    guest.request_stop();
    guest.join();
    BOOST_TEST(!its.exists());
}

BOOST_AUTO_TEST_CASE(a_leftover_of_the_dead_is_recognised_and_removed)
{
    const unique its("leftover");
    const auto leave = [&] {
        process(
            [](std::string name) {
                const auto mine = number::create(name, 7);
                die();
            },
            its.name)
            .join();
        BOOST_REQUIRE(its.exists());
    };
    leave();
    BOOST_TEST(error_of([&] { number::attach(its.name); }) == ENOENT);
    BOOST_TEST(!its.exists());
    leave();
    BOOST_TEST(*number::create(its.name, 8) == 8);
    BOOST_TEST(!its.exists());
}

BOOST_AUTO_TEST_CASE(another_type_or_layout_is_refused)
{
    const unique its("type");
    const auto mine = number::create(its.name, 5);
    try
    {
        named<std::array<std::uint64_t, 2>>::attach(its.name);
        BOOST_ERROR("another type");
    }
    catch (const common::malformed& e)
    {
        BOOST_TEST_MESSAGE(e.what());
        BOOST_TEST(std::string(e.what()).find("atomic<int>") !=
                   std::string::npos);
    }
    BOOST_TEST(*number::attach(its.name) == 5);
}

// What other programs would have written there.
BOOST_AUTO_TEST_CASE(the_error_says_what_is_different)
{
    const unique its("layout");
    const auto mine = number::create(its.name, 5);
    struct word
    {
        off_t place;
        std::uint32_t other;
        std::string_view said;
    };
    for (const auto& [place, other, text] :
         {word{8, 1, "layout"}, word{24, 107400, "Boost 107400"},
          word{28, 1, "ABI"}, word{32, 4096, "layout"}})
    {
        const auto said = text; // clang 14 does not capture what is bound
        const common::kernel::descriptor file(
            ::open(its.path.c_str(), O_RDWR | O_CLOEXEC));
        std::uint32_t right = 0;
        BOOST_REQUIRE(::pread(file.get(), &right, 4, place) == 4);
        BOOST_REQUIRE(::pwrite(file.get(), &other, 4, place) == 4);
        BOOST_CHECK_EXCEPTION(
            number::attach(its.name), common::malformed, [&](auto& e) {
                return std::string_view(e.what()).find(said) !=
                       std::string_view::npos;
            });
        BOOST_REQUIRE(::pwrite(file.get(), &right, 4, place) == 4);
    }
    BOOST_TEST(*number::attach(its.name) == 5);
}

BOOST_AUTO_TEST_CASE(what_others_made_or_began_is_refused_and_left_alone)
{
    const unique its("squat");
    for (const std::size_t size : {std::size_t{0}, std::size_t{4096}})
    {
        const int fd = ::open(its.path.c_str(), O_CREAT | O_RDWR, 0600);
        BOOST_REQUIRE(::ftruncate(fd, static_cast<off_t>(size)) == 0);
        ::close(fd);
        BOOST_CHECK_THROW(number::create(its.name, 1), common::malformed);
        BOOST_CHECK_THROW(number::attach(its.name), common::malformed);
        BOOST_TEST(its.exists());
        ::unlink(its.path.c_str());
    }
    // A file of ours that everybody could have written to.
    ::close(::open(its.path.c_str(), O_CREAT | O_RDWR, 0600));
    ::chmod(its.path.c_str(), 0666);
    BOOST_TEST(error_of([&] { number::create(its.name, 1); }) == EACCES);
}

BOOST_AUTO_TEST_CASE(a_symlink_is_refused)
{
    const unique its("link"), target("target");
    const auto mine = number::create(target.name, 5);
    BOOST_REQUIRE(::symlink(target.path.c_str(), its.path.c_str()) == 0);
    BOOST_TEST(error_of([&] { number::attach(its.name); }) == ELOOP);
    BOOST_TEST(error_of([&] { number::create(its.name, 1); }) == ELOOP);
}

BOOST_AUTO_TEST_CASE(a_name_that_leads_elsewhere_is_refused)
{
    for (const std::string& name :
         {std::string(), std::string("../x"), std::string("a/b"),
          std::string("."), std::string(".."), std::string("a\0b", 3)})
        BOOST_TEST(error_of([&] { number::create(name, 1); }) == EINVAL);
}

BOOST_AUTO_TEST_CASE(memory_that_is_not_there_is_an_exception)
{
    struct huge
    {
        std::byte bytes[std::size_t{1} << 44];
    };
    const unique its("huge");
    BOOST_TEST(error_of([&] { named<huge>::create(its.name); }) != 0);
    BOOST_TEST(!its.exists());
}

// /dev/shm of a size of its own, in a mount namespace.
BOOST_AUTO_TEST_CASE(memory_that_is_full_is_an_exception_and_leaves_no_name)
{
    if (!root())
        return;
    struct large
    {
        std::byte bytes[1 << 20];
    };
    const unique its("full");
    const int result = forked([&] {
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("full", "/dev/shm", "tmpfs", 0, "size=64k") != 0)
            return 98;
        if (error_of([&] { named<large>::create(its.name); }) != ENOSPC)
            return 97;
        if (its.exists())
            return 96;
        const auto small = number::create(its.name, 7);
        return number::attach(its.name)->load();
    });
    if (result == 98)
        BOOST_WARN_MESSAGE(false, "skipped: no mount namespaces here");
    else
        BOOST_TEST(result == 7);
}

BOOST_AUTO_TEST_CASE(signals_do_not_keep_it_from_being_made)
{
    struct large
    {
        std::byte bytes[64 << 20];
    };
    const unique its("signals");
    BOOST_TEST(forked([&] {
                   struct sigaction nothing
                   {
                   };
                   nothing.sa_handler = [](int) {};
                   ::sigaction(SIGALRM, &nothing, nullptr);
                   const itimerval often{{0, 1'000}, {0, 1'000}};
                   ::setitimer(ITIMER_REAL, &often, nullptr);
                   return error_of([&] { named<large>::create(its.name); });
               }) == 0);
}

// Who is not a child finds it by its name; a death in it costs one change.
BOOST_AUTO_TEST_CASE(a_map_can_have_a_name)
{
    using prices = named<shared_data::static_map<std::uint64_t, long, 1'000>>;
    const unique its("prices");
    const auto mine = prices::create(its.name);
    const auto fill = [](std::string name) {
        const auto there = prices::attach(name);
        for (std::uint64_t i = 0; i < 1'000; ++i)
            there->insert_or_assign(i, static_cast<long>(3 * i));
    };
    {
        const faults armed("map.published=0.01");
        for (int i = 0; i < 5; ++i)
            process(fill, its.name).join();
    }
    BOOST_TEST(process(fill, its.name).join().success());
    BOOST_TEST(mine->size() == 1'000u);
    for (std::uint64_t i = 0; i < 1'000; ++i)
        BOOST_TEST((mine->find(i) == static_cast<long>(3 * i)));
    using others = named<shared_data::static_map<std::uint64_t, long, 999>>;
    BOOST_CHECK_THROW(others::attach(its.name), common::malformed);
}

BOOST_AUTO_TEST_CASE(another_user_cannot_attach)
{
    if (!root())
        return;
    const unique its("private");
    const auto mine = number::create(its.name, 5);
    BOOST_TEST(forked([&] {
                   if (::setgid(nobody) != 0 || ::setuid(nobody) != 0)
                       return 98;
                   if (::open(its.path.c_str(), O_RDONLY) >= 0)
                       return 97;
                   return error_of([&] { number::attach(its.name); });
               }) == EACCES);
}

BOOST_AUTO_TEST_CASE(a_squatter_is_refused)
{
    if (!root())
        return;
    const unique its("foreign");
    BOOST_TEST(forked([&] {
                   if (::setgid(nobody) != 0 || ::setuid(nobody) != 0)
                       return 98;
                   static_cast<void>(number::create(its.name, 5)); // may write
                   ::close(::open(its.path.c_str(), O_CREAT | O_RDWR, 0666));
                   return ::chmod(its.path.c_str(), 0666);
               }) == 0);
    BOOST_TEST(its.exists());
    BOOST_TEST(error_of([&] { number::create(its.name, 1); }) == EACCES);
    BOOST_TEST(error_of([&] { number::attach(its.name); }) == EACCES);
}

// Two containers that share memory: processes with equal numbers.
BOOST_AUTO_TEST_CASE(a_lock_works_across_pid_namespaces)
{
    if (!root())
        return;
    void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct both
    {
        common::robust_mutex mutex;
        std::atomic<int> stage{0};
    };
    auto* const one = ::new (page) both;
    // Each is process 1 of a namespace of its own.
    const auto in_namespace = [](const std::function<int()>& body) {
        return forked([&] {
            if (::unshare(CLONE_NEWPID) != 0)
                return 98;
            return forked([&] { return ::getpid() == 1 ? body() : 97; });
        });
    };
    int first = 0;
    std::jthread holder([&] {
        first = in_namespace([&] {
            one->mutex.lock();
            one->stage = 1;
            while (one->stage == 1) // until the other has tried
                ::poll(nullptr, 0, 1);
            return 0; // no kill: a first process is immune to its own
        });
    });
    const bool possible =
        eventually([&] { return one->stage == 1 || first == 98; });
    if (first == 98)
        BOOST_WARN_MESSAGE(false, "skipped: no pid namespaces here");
    else
    {
        BOOST_TEST(possible);
        // A namesake ends while it waits: the lock is not taken for its own.
        BOOST_TEST(in_namespace([&] {
                       std::jthread end([&] {
                           while (one->mutex.who().since ==
                                  common::time_point()) // until it waits
                               ::poll(nullptr, 0, 1);
                           ::poll(nullptr, 0, 20);
                           ::_exit(5);
                       });
                       one->mutex.lock();
                       return 6;
                   }) == 5);
        BOOST_TEST(in_namespace([&] {
                       return one->mutex.try_lock() == common::locked::no &&
                              one->mutex.lock(clock::now() + 10ms) ==
                                  common::locked::no;
                   }) == 1);
        one->stage = 2;
        BOOST_TEST(in_namespace([&] {
                       return one->mutex.lock(clock::now() + 20s) ==
                              common::locked::after_death;
                   }) == 1);
    }
    holder.join();
    ::munmap(page, 4096);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(manager_laws, test::clean)

namespace {

struct stock
{
    std::map<std::string, int> pieces;
};

/// While it lives, files of this process grow to so many bytes only.
struct file_size_limit
{
    explicit file_size_limit(rlim_t bytes)
    {
        ::getrlimit(RLIMIT_FSIZE, &before);
        const rlimit low{bytes, before.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &low);
    }
    file_size_limit(const file_size_limit&) = delete;
    ~file_size_limit() { ::setrlimit(RLIMIT_FSIZE, &before); }
    rlimit before{};
};

class tally
{
public:
    void add(int more) { sum_ += more; }
    int sum() const noexcept { return sum_; }

private:
    int sum_ = 0;
};

/// A manager that runs in a thread, at a door of its own.
class shop
{
public:
    shop() : manager_(place_ / "in/door")
    {
        manager_.expose("put", [](stock& s, std::string what, int n) {
            s.pieces[what] += n;
        });
        manager_.expose("take", [](stock& s, const std::string& what, int n) {
            if (s.pieces[what] < n)
                throw std::out_of_range("no more " + what);
            return s.pieces[what] -= n;
        });
        manager_.expose("all", [](stock& s) { return s.pieces; });
        manager_.expose("crash", [](stock&) { die(); });
        manager_.expose("hang", [](stock&) { ::poll(nullptr, 0, 500); });
    }
    std::string door() const { return (place_ / "in/door").string(); }
    void open()
    {
        thread_ = std::jthread(
            [this](const std::stop_token& stop) { manager_.run(stop); });
    }
    void run() { manager_.run({}); }

private:
    directory place_;
    shared_data::manager<stock> manager_;
    std::jthread thread_;
};

} // namespace

BOOST_AUTO_TEST_CASE(processes_that_come_and_go_call_its_methods)
{
    shop one;
    one.open();
    std::vector<process> all;
    for (int i = 0; i < 3; ++i)
        all.emplace_back(
            [](std::string door) {
                shared_data::managed s(door);
                for (int n = 0; n < 100; ++n)
                    s.call("put", std::string("apples"), 2);
            },
            one.door());
    for (auto& each : all)
        BOOST_TEST(each.join().success());
    shared_data::managed s(one.door());
    BOOST_TEST(s.call<int>("take", std::string("apples"), 1) == 599);
    BOOST_TEST((s.call<std::map<std::string, int>>("all")["apples"]) == 599);
}

BOOST_AUTO_TEST_CASE(its_errors_come_back)
{
    shop one;
    one.open();
    shared_data::managed s(one.door());
    BOOST_CHECK_THROW(s.call<int>("take", std::string("pears"), 1),
                      std::out_of_range);
    BOOST_CHECK_THROW(s.call("steal"), std::invalid_argument);
    BOOST_CHECK_THROW(s.call("put", std::string("pears"), 1.5),
                      std::invalid_argument);
    s.call("put", std::string("pears"), 1);
    BOOST_TEST(s.call<int>("take", std::string("pears"), 1) == 0);
}

BOOST_AUTO_TEST_CASE(a_long_message_arrives)
{
    shop one;
    one.open();
    shared_data::managed s(one.door());
    const std::string name(3'000'000, 'x');
    s.call("put", name, 1);
    BOOST_TEST((s.call<std::map<std::string, int>>("all")[name]) == 1);
}

// An answer for which there is no memory is the caller's trouble alone.
BOOST_AUTO_TEST_CASE(an_answer_that_cannot_be_sent_ends_nobody)
{
    shop one;
    one.open();
    shared_data::managed s(one.door());
    s.call("put", std::string("apples"), 1);
    const std::string name(3'000'000, 'x');
    s.call("put", name, 1);
    const file_size_limit low(1'000'000);
    BOOST_CHECK_THROW((s.call<std::map<std::string, int>>("all")),
                      std::system_error);
    BOOST_TEST(s.call<int>("take", std::string("apples"), 1) == 0);
}

BOOST_AUTO_TEST_CASE(a_caller_that_dies_costs_nobody_else_anything)
{
    shop one;
    one.open();
    shared_data::managed s(one.door());
    for (int i = 0; i < 10; ++i)
    {
        process caller(
            [](std::string door) {
                shared_data::managed other(door);
                for (;;) // until it is killed
                    other.call("put", std::string("nuts"), 1);
            },
            one.door());
        const auto nuts = [&] {
            return s.call<std::map<std::string, int>>("all")["nuts"];
        };
        const int now = nuts();
        BOOST_TEST(eventually([&] { return nuts() > now; }));
        caller.kill();
        caller.join();
    }
}

BOOST_AUTO_TEST_CASE(the_end_of_the_manager_ends_the_wait)
{
    const directory place;
    flag stage{0};
    process owner(
        [](std::string door, flag f) {
            shared_data::manager<stock> m(door);
            m.expose("crash", [](stock&) { die(); });
            *f = 1;
            m.run({});
        },
        (place / "in/door").string(), stage);
    BOOST_REQUIRE(eventually([&] { return *stage == 1; }));
    shared_data::managed s(place / "in/door");
    BOOST_CHECK_THROW(s.call("crash"), common::closed);
    BOOST_CHECK_THROW(s.call("crash"), common::closed);
    owner.join();
    BOOST_CHECK_THROW(shared_data::managed(place / "in/door"),
                      std::system_error);
    // Its door is left, and is replaced.
    shared_data::manager<stock> next(place / "in/door");
}

BOOST_AUTO_TEST_CASE(a_manager_in_a_process_ends_when_it_is_asked_to)
{
    const directory place;
    flag open{0};
    process owner(
        [](common::stop_token stop, std::string door, flag f) {
            shared_data::manager<tally> m(door);
            m.expose("add", &tally::add);
            m.expose("sum", &tally::sum);
            *f = 1;
            m.run(stop);
            return m->sum();
        },
        (place / "in/door").string(), open);
    BOOST_REQUIRE(eventually([&] { return *open == 1; }));
    shared_data::managed s(place / "in/door");
    s.call("add", 3);
    s.call("add", 4);
    BOOST_TEST(s.call<int>("sum") == 7);
    owner.request_stop();
    BOOST_TEST((owner.join() == common::exit_status{7, 0}));
    BOOST_CHECK_THROW(s.call<int>("sum"), common::closed);
}

BOOST_AUTO_TEST_CASE(an_answer_that_cannot_be_sent_is_an_error_of_its_caller)
{
    const directory place;
    flag open{0};
    process owner(
        [](common::stop_token stop, std::string door, flag f) {
            shared_data::manager<tally> m(door);
            m.expose("limit", [](tally&, bool descriptors, unsigned n) {
                const auto what = descriptors ? RLIMIT_NOFILE : RLIMIT_FSIZE;
                rlimit all;
                ::getrlimit(what, &all);
                all.rlim_cur = n;
                ::setrlimit(what, &all);
            });
            m.expose("large", [](tally&) { return std::string(1 << 20, 'x'); });
            *f = 1;
            m.run(stop);
        },
        (place / "in/door").string(), open);
    BOOST_REQUIRE(eventually([&] { return *open == 1; }));
    shared_data::managed s(place / "in/door");
    const auto without = [&](bool descriptors, unsigned few, unsigned many) {
        s.call("limit", descriptors, few);
        BOOST_CHECK_THROW(s.call<std::string>("large"), std::system_error);
        s.call("limit", descriptors, many);
        BOOST_TEST(s.call<std::string>("large").size() == 1u << 20);
    };
    without(false, 1u << 10, 1u << 30); // bytes of a file
    if (!test::address_sanitizer)       // see unless_sanitized
        without(true, 5, 100);          // it has more already
    owner.request_stop();
    BOOST_TEST(owner.join().success());
}

BOOST_AUTO_TEST_CASE(a_call_has_a_deadline)
{
    shop one;
    one.open();
    shared_data::managed s(one.door());
    BOOST_CHECK_THROW(s.call_until<void>(clock::now() + 20ms, "hang"),
                      common::timed_out);
    BOOST_CHECK_THROW(s.call("hang"), common::closed);
}

BOOST_AUTO_TEST_CASE(another_user_is_not_let_in)
{
    if (!root())
        return;
    shop one;
    std::filesystem::permissions(
        std::filesystem::path(one.door()).parent_path().parent_path(),
        std::filesystem::perms(0711));
    one.open();
    BOOST_TEST(forked([&] {
                   if (::setgid(nobody) != 0 || ::setuid(nobody) != 0)
                       return 98;
                   return error_of([&] { shared_data::managed(one.door()); });
               }) == EACCES);
}

BOOST_AUTO_TEST_SUITE_END()
