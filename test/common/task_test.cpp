// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE task

#include "common/process.hpp"
#include "common/task.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <dlfcn.h>

#include <memory>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

class bytes final : public common::output
{
public:
    std::span<std::byte> room(std::size_t size) override
    {
        text.resize(size);
        return text;
    }
    std::vector<std::byte> text;
};

/// Sends a call and runs it.
template <class R, class F, class... A>
R call(const F& function, const A&... arguments)
{
    using what = common::task<F, A...>;
    std::vector<std::byte> text(what::size(function, arguments...));
    common::writer to{text};
    what::write(to, function, arguments...);
    BOOST_TEST(to.rest.empty());
    bytes result;
    common::reader from{text};
    common::run_task(what::id(), from, result);
    common::reader back{result.text};
    return common::decode<R>(back);
}

int twice(int x) noexcept
{
    return 2 * x;
}

std::string join(std::string a, std::vector<std::string> b)
{
    for (const auto& one : b)
        a += one;
    return a;
}

/// Throws `error` in another process' words; gives what arrives.
template <class E>
common::error_message told(const E& error)
{
    try
    {
        throw error;
    }
    catch (...)
    {
        return common::error_message::current();
    }
}

template <class E>
void check_type_and_text(const E& error)
{
    const auto message = told(error);
    try
    {
        message.rethrow();
    }
    catch (const E& e)
    {
        BOOST_TEST(std::string(e.what()) == error.what());
        BOOST_TEST(dynamic_cast<const common::remote_origin*>(&e) != nullptr);
        return;
    }
    catch (...)
    {
    }
    BOOST_ERROR(message.type + " arrived as something else");
}

struct own_error : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(task_laws, test::clean)

BOOST_AUTO_TEST_CASE(functions_lambdas_and_captures_run_with_their_arguments)
{
    using strings = std::vector<std::string>;
    BOOST_TEST(call<std::string>(&join, std::string("a"), strings{"b", "c"}) ==
               "abc");
    BOOST_TEST(call<int>(&twice, 4) == 8);
    BOOST_TEST(call<int>([](int a, int b) { return a - b; }, 7, 2) == 5);
    int offset = 100;
    BOOST_TEST(
        call<int>(common::capture([offset](int n) { return offset + n; }), 5) ==
        105);
    struct adder
    {
        int operator()(int a, int b) const { return a + b; }
    };
    BOOST_TEST(call<int>(adder(), 1, 2) == 3);
}

BOOST_AUTO_TEST_CASE(arguments_may_be_moved_from)
{
    BOOST_TEST(call<std::size_t>(
                   [](std::vector<int>&& all) {
                       const auto mine = std::move(all);
                       return mine.size();
                   },
                   std::vector<int>(10)) == 10u);
}

BOOST_AUTO_TEST_CASE(a_message_that_ends_early_is_malformed)
{
    using what =
        common::task<decltype(&join), std::string, std::vector<std::string>>;
    const std::vector<std::string> more{"b", "c"};
    std::vector<std::byte> text(what::size(&join, "a", more));
    common::writer to{text};
    what::write(to, &join, "a", more);
    for (std::size_t size = 0; size < text.size(); ++size)
    {
        const std::vector part(
            text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size));
        common::reader from{part};
        bytes result;
        BOOST_CHECK_THROW(common::run_task(what::id(), from, result),
                          common::malformed);
    }
}

BOOST_AUTO_TEST_CASE(numbers_outside_the_program_are_never_called)
{
    const auto size = &etext - &__executable_start;
    for (const long id :
         {0l, -1l, -4096l, size + 0l, size + 1l, 0x7fffffffl, -0x7fffffffl - 1})
    {
        common::reader from{};
        bytes result;
        BOOST_CHECK_THROW(
            common::run_task(static_cast<common::entry_id>(id), from, result),
            common::malformed);
        std::vector<std::byte> text(sizeof(common::entry_id));
        common::writer to{text};
        common::encode(to, static_cast<common::entry_id>(id));
        common::reader function{text};
        BOOST_CHECK_THROW(
            common::detail::callable<int (*)(int)>::read(function),
            common::malformed);
    }
}

BOOST_AUTO_TEST_CASE(code_of_a_shared_library_is_refused)
{
    const auto library =
        reinterpret_cast<int (*)(int)>(::dlsym(RTLD_DEFAULT, "abs"));
    BOOST_REQUIRE(library != nullptr);
    BOOST_CHECK_THROW(call<int>(library, 1), std::invalid_argument);
    BOOST_CHECK_THROW(common::process(library, 1), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(standard_exceptions_arrive_as_themselves)
{
    check_type_and_text(std::out_of_range("out"));
    check_type_and_text(std::invalid_argument("invalid"));
    check_type_and_text(std::length_error("length"));
    check_type_and_text(std::domain_error("domain"));
    check_type_and_text(std::logic_error("logic"));
    check_type_and_text(std::range_error("range"));
    check_type_and_text(std::overflow_error("over"));
    check_type_and_text(std::underflow_error("under"));
    check_type_and_text(std::runtime_error("runtime"));
    check_type_and_text(std::runtime_error(""));
    check_type_and_text(std::bad_alloc());
    check_type_and_text(std::bad_array_new_length());
    check_type_and_text(std::bad_cast());
    check_type_and_text(std::bad_function_call());
    check_type_and_text(std::bad_optional_access());
    check_type_and_text(std::bad_variant_access());
    check_type_and_text(std::bad_weak_ptr());
}

BOOST_AUTO_TEST_CASE(an_exception_arrives_with_those_that_led_to_it)
{
    const auto nest = [](auto inner, auto outer) {
        try
        {
            try
            {
                throw inner;
            }
            catch (...)
            {
                std::throw_with_nested(outer);
            }
        }
        catch (...)
        {
            return common::error_message::current();
        }
    };
    const auto says = [](const std::string& text) {
        return [text](const std::exception& e) { return e.what() == text; };
    };
    const auto once =
        nest(std::out_of_range("index 3"), std::runtime_error("cannot parse"));
    BOOST_TEST(once.type == "std::runtime_error");
    BOOST_CHECK_EXCEPTION(once.rethrow(), std::runtime_error,
                          says("cannot parse (because of std::out_of_range: "
                               "index 3)"));
    const auto number = nest(42, std::logic_error("odd"));
    BOOST_CHECK_EXCEPTION(number.rethrow(), std::logic_error,
                          says("odd (because of int: (not a std::exception))"));
    const auto code =
        nest(std::range_error("far"),
             std::system_error(ENOENT, std::generic_category(), "opening x"));
    BOOST_CHECK_EXCEPTION(
        code.rethrow(), std::system_error, [](const std::system_error& e) {
            return e.code() == std::errc::no_such_file_or_directory &&
                   std::string(e.what()).find("far") != std::string::npos;
        });
}

BOOST_AUTO_TEST_CASE(the_code_of_a_system_error_arrives)
{
    for (const auto* category :
         {&std::generic_category(), &std::system_category()})
        try
        {
            told(std::system_error(ENOENT, *category, "opening x")).rethrow();
        }
        catch (const std::system_error& e)
        {
            BOOST_TEST((e.code() == std::error_code(ENOENT, *category)));
        }
}

BOOST_AUTO_TEST_CASE(other_exceptions_arrive_with_type_and_text)
{
    try
    {
        told(own_error("mine")).rethrow();
    }
    catch (const common::remote_error& e)
    {
        BOOST_TEST(e.type.find("own_error") != std::string::npos);
        BOOST_TEST(std::string(e.what()).find("mine") != std::string::npos);
    }
    BOOST_CHECK_THROW(told(42).rethrow(), common::remote_error);
}

BOOST_AUTO_TEST_CASE(an_error_message_crosses_like_any_value)
{
    const auto sent = told(std::range_error("text"));
    std::vector<std::byte> text(common::encoded_size(sent));
    common::writer to{text};
    common::encode(to, sent);
    common::reader from{text};
    BOOST_CHECK_THROW(common::decode<common::error_message>(from).rethrow(),
                      std::range_error);
}

BOOST_AUTO_TEST_SUITE_END()
