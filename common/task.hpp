// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"

#include <boost/core/demangle.hpp>

#include <cxxabi.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

/// The first and the last address of this program's code, by the linker.
extern "C" char __executable_start;
extern "C" char etext;

namespace common {

/// A function of this program as a number that means the same in every process
/// that runs this program: its distance from the start of the program.
using entry_id = std::int32_t;

/// Where a task's result goes.
class output
{
public:
    /// Room for a result of `size` bytes.  Throws std::length_error when it
    /// is more than can be sent.
    virtual std::span<std::byte> room(std::size_t size) = 0;

protected:
    ~output() = default;
};

/// Runs a task: its arguments in, its result out.  Throws what the task throws.
using entry = void(reader& arguments, output& result);

namespace detail {

inline std::intptr_t program_start()
{
    return reinterpret_cast<std::intptr_t>(&__executable_start);
}

template <class Function>
entry_id id_of(Function* function)
{
    const auto at = reinterpret_cast<std::intptr_t>(function);
    if (at < program_start() || at >= reinterpret_cast<std::intptr_t>(&etext))
        throw std::invalid_argument(
            "a task must be code of the program itself: a shared library is at "
            "another address in every process");
    return static_cast<entry_id>(at - program_start());
}

/// Checks a number from another process before it becomes a function.
template <class Function>
Function* function_at(entry_id id)
{
    const auto at = program_start() + id;
    if (id <= 0 || at >= reinterpret_cast<std::intptr_t>(&etext))
        throw malformed("task names code outside of this program");
    return reinterpret_cast<Function*>(at);
}

/// How the callable itself travels: an empty one by its type alone, a function
/// by its number, a captured one by its bytes.
template <class F>
struct callable
{
    static_assert(std::is_empty_v<F> && std::is_default_constructible_v<F>,
                  "a callable that captures cannot cross to another process by "
                  "itself, nor can a std::function: pass a lambda or a "
                  "function, and what it needs as arguments; captures without "
                  "pointers may be wrapped in common::capture(...)");
    static std::size_t size(const F&) { return 0; }
    static void write(writer&, const F&) {}
    static F read(reader&) { return F{}; }
};

template <class R, class... P, bool NoThrow>
struct callable<R (*)(P...) noexcept(NoThrow)>
{
    using function = R(P...) noexcept(NoThrow);
    static std::size_t size(function*) { return sizeof(entry_id); }
    static void write(writer& to, function* f) { encode(to, id_of(f)); }
    static function* read(reader& from)
    {
        return function_at<function>(decode<entry_id>(from));
    }
};

template <class F>
struct callable<captured<F>> : codec<captured<F>>
{
};

template <class F, class... A>
void run(reader& arguments, output& result)
{
    F function = callable<F>::read(arguments);
    std::tuple<A...> values{decode<A>(arguments)...}; // braces: left to right
    using value =
        std::decay_t<decltype(std::apply(function, std::move(values)))>;
    if constexpr (std::is_void_v<value>)
        std::apply(function, std::move(values));
    else
    {
        const value answer = std::apply(function, std::move(values));
        writer to{result.room(encoded_size(answer))};
        encode(to, answer);
    }
}

} // namespace detail

/// A callable as an argument of another.
template <class F>
struct packed
{
    F function;
};

template <class F>
struct codec<packed<F>>
{
    static std::size_t size(const packed<F>& p)
    {
        return detail::callable<F>::size(p.function);
    }
    static void write(writer& to, const packed<F>& p)
    {
        detail::callable<F>::write(to, p.function);
    }
    static packed<F> read(reader& from)
    {
        return {detail::callable<F>::read(from)};
    }
};

namespace detail {

template <class F, class... A>
constexpr auto result_of()
{
    constexpr bool fits = std::is_invocable_v<F&, A&&...>;
    static_assert(fits, "the callable does not take these arguments: too few, "
                        "too many, or a reference that is not const, while "
                        "arguments are copies");
    if constexpr (fits)
        return std::type_identity<
            std::decay_t<std::invoke_result_t<F&, A&&...>>>();
    else
        return std::type_identity<void>();
}

} // namespace detail

/// What a call of `F` with values of types `A` gives, as it comes back.
template <class F, class... A>
using result_of = typename decltype(detail::result_of<F, A...>())::type;

/// A callable and its arguments, ready to be sent.  `F` and `A` are the types
/// that travel: decayed, and codable.
template <class F, class... A>
struct task
{
    static constexpr void check()
    {
        static_assert((codable<A> && ...), "an argument cannot be sent");
        static_assert(std::is_invocable_v<F&, A&&...>,
                      "the callable does not take these arguments");
    }
    static entry_id id() { return detail::id_of(&detail::run<F, A...>); }
    static std::size_t size(const F& function, const A&... arguments)
    {
        check();
        return (detail::callable<F>::size(function) + ... +
                encoded_size(arguments));
    }
    static void write(writer& to, const F& function, const A&... arguments)
    {
        detail::callable<F>::write(to, function);
        (encode(to, arguments), ...);
    }
};

/// Runs what `id` names.  Throws malformed for what is not in this program's
/// code, and whatever the task throws.  Requires: if it is, it is a task's.
inline void run_task(entry_id id, reader& arguments, output& result)
{
    detail::function_at<entry>(id)(arguments, result);
}

/// An exception as values, to be thrown again in another process.
struct error_message
{
    std::string type;
    std::string what;
    std::int32_t code = 0;             // of a std::system_error
    std::uint8_t domain = 0;           // 1 generic, 2 system, 0 neither
    std::int32_t process = ::getpid(); // where it was thrown

    /// Of the exception being handled.
    static error_message current()
    {
        try
        {
            throw;
        }
        catch (const std::system_error& e)
        {
            const auto& category = e.code().category();
            return {name(e), text(e), e.code().value(),
                    static_cast<std::uint8_t>(
                        category == std::generic_category()  ? 1
                        : category == std::system_category() ? 2
                                                             : 0)};
        }
        catch (const remote_error& e) // whose text begins with its type
        {
            return {e.type, std::string(e.what()).substr(e.type.size() + 2)};
        }
        catch (const std::exception& e)
        {
            return {name(e), text(e)};
        }
        catch (const std::string& said)
        {
            return {"std::string", said};
        }
        catch (const char* said)
        {
            return {"const char*", said == nullptr ? "" : said};
        }
        catch (...) // the compiler knows what it was
        {
            const auto* type = abi::__cxa_current_exception_type();
            return {type == nullptr ? "?" : boost::core::demangle(type->name()),
                    "(not a std::exception)"};
        }
    }

    /// Throws the exception again: a standard type as itself, and at the same
    /// time as remote_origin; any other as remote_error.
    [[noreturn]] void rethrow() const
    {
        const remote_origin origin{type, process};
        throw_if<std::out_of_range>(origin);
        throw_if<std::invalid_argument>(origin);
        throw_if<std::length_error>(origin);
        throw_if<std::domain_error>(origin);
        throw_if<std::logic_error>(origin);
        throw_if<std::range_error>(origin);
        throw_if<std::overflow_error>(origin);
        throw_if<std::underflow_error>(origin);
        throw_if<std::runtime_error>(origin);
        throw_if_plain<std::bad_alloc>(origin);
        throw_if_plain<std::bad_array_new_length>(origin);
        throw_if_plain<std::bad_cast>(origin);
        throw_if_plain<std::bad_typeid>(origin);
        throw_if_plain<std::bad_exception>(origin);
        throw_if_plain<std::bad_weak_ptr>(origin);
        throw_if_plain<std::bad_function_call>(origin);
        throw_if_plain<std::bad_optional_access>(origin);
        throw_if_plain<std::bad_variant_access>(origin);
        if (is<std::system_error>() && domain != 0)
            rethrow_system_error(origin);
        throw remote_error(origin, what);
    }

private:
    // In the text is that of the code, which the exception appends again.
    [[noreturn]] void rethrow_system_error(const remote_origin& origin) const
    {
        const std::error_code error(code, domain == 1 ? std::generic_category()
                                                      : std::system_category());
        const auto end = ": " + error.message();
        const auto at = what.rfind(end);
        if (at == what.npos)
            throw remote<std::system_error>(origin, error);
        throw remote<std::system_error>(
            origin, error, std::string(what).erase(at, end.size()));
    }

    // One that has come from a worker goes on as what it was there.
    template <class E>
    static std::string name(const E& e)
    {
        if (const auto* origin = dynamic_cast<const remote_origin*>(&e))
            return origin->type;
        auto result = boost::core::demangle(typeid(e).name());
        constexpr std::string_view around = "std::_Nested_exception<";
        if (result.starts_with(around)) // what std::throw_with_nested makes
        {
            result.pop_back();
            result.erase(0, around.size());
            if (result.ends_with(' ')) // between two '>'
                result.pop_back();
        }
        return result;
    }
    // With the exceptions that led to this one, by std::throw_with_nested.
    static std::string text(const std::exception& e)
    {
        const char* const said = e.what();
        std::string result = said == nullptr ? "" : said;
        const auto* outer = dynamic_cast<const std::nested_exception*>(&e);
        if (outer == nullptr || outer->nested_ptr() == nullptr)
            return result;
        try
        {
            outer->rethrow_nested();
        }
        catch (...)
        {
            const auto cause = current();
            return result + " (because of " + cause.type + ": " + cause.what +
                   ")";
        }
    }
    template <class E>
    bool is() const
    {
        return type == boost::core::demangle(typeid(E).name());
    }
    template <class E>
    void throw_if(const remote_origin& origin) const
    {
        if (is<E>())
            throw remote<E>(origin, what);
    }
    template <class E> // that has always the same text
    void throw_if_plain(const remote_origin& origin) const
    {
        if (is<E>())
            throw remote<E>(origin);
    }
};

} // namespace common
