// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/linux/named_memory.hpp"
#include "common/shared.hpp"

#include <boost/core/demangle.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/version.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace shared_data {

/// One object in shared memory that has a name, for programs that are not
/// parent and child.  (Where they are, common::shared needs no name.)
///
///     auto mine = shared_data::named<counter>::create("my_app.hits");
///     auto same = shared_data::named<counter>::attach("my_app.hits");
///
/// For programs of one user only.  The object lives as long as anybody uses
/// it: the last one to leave takes the name away.  Who is killed cannot; such
/// a leftover is recognised, since the kernel tells that nobody uses it, and
/// is removed by whoever comes next.
///
/// Who attaches must mean the same type, built for the same ABI and Boost.
template <common::shareable T>
class named
{
public:
    /// Makes a T of these arguments.  Throws std::system_error: EEXIST when
    /// the name is in use, EACCES when it is another user's, ENOSPC; and
    /// common::malformed when something else has that name.
    template <class... A>
    static named create(const std::string& name, A&&... arguments)
    {
        named result(common::kernel::named_memory(sizeof(content)));
        ::new (result.place()) content(std::forward<A>(arguments)...);
        while (!result.memory_.publish(name)) // each turn removes a leftover
            if (const auto other = common::kernel::named_memory::find(name))
            {
                const auto pid = label_of(name, *other).creator;
                if (!other->claim())
                    throw std::system_error(
                        std::make_error_code(std::errc::file_exists),
                        "shared memory '" + name + "', created by process " +
                            std::to_string(pid) + ", is in use");
                other->remove(name);
            }
        result.name_ = name;
        return result;
    }

    /// The object that somebody uses under that name.  Throws
    /// std::system_error: ENOENT when there is none, or a leftover only,
    /// EACCES when it is another user's; common::malformed when it is
    /// something else than a T of the same making.
    static named attach(const std::string& name)
    {
        for (;;) // ends: who has it alone is about to remove it
        {
            auto there = common::kernel::named_memory::find(name);
            if (!there)
                throw missing("shared memory '" + name + "'");
            const auto its = label_of(name, *there);
            if (there->claim())
            {
                there->remove(name);
                throw missing("shared memory '" + name +
                              "' was left over from process " +
                              std::to_string(its.creator) + ", and is removed");
            }
            check(name, its, there->size()); // before it is ours to take away
            if (!there->share() || !there->has(name))
                continue;
            named result(std::move(*there));
            result.name_ = name;
            return result;
        }
    }

    named(named&& other) noexcept
        : name_(std::move(other.name_))
        , memory_(std::move(other.memory_))
        , region_(std::move(other.region_))
    {
        other.name_.clear();
    }
    named& operator=(named&&) = delete;
    ~named()
    {
        if (!name_.empty() && memory_.claim()) // the last one
            memory_.remove(name_);
    }

    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }
    T* get() const
    {
        return &std::launder(reinterpret_cast<content*>(place()))->object;
    }
    const std::string& name() const { return name_; }

private:
    /// What stands before the object.
    struct label
    {
        static constexpr std::uint64_t expected = 0x61746144'64726853;

        std::uint64_t magic = expected;
        std::uint64_t size = sizeof(content);
        std::uint64_t type = fingerprint(typeid(T).name());
        std::uint32_t boost = BOOST_VERSION;
        std::uint32_t abi = __GXX_ABI_VERSION;
        std::uint32_t alignment = alignof(T);
        pid_t creator = ::getpid();
        char type_name[64] = {};
    };
    struct content
    {
        template <class... A>
        explicit content(A&&... arguments)
            : object(std::forward<A>(arguments)...)
        {
            type_name().copy(head.type_name, sizeof head.type_name - 1);
        }
        label head;
        T object;
    };

    explicit named(common::kernel::named_memory memory)
        : memory_(std::move(memory))
        , region_(memory_, boost::interprocess::read_write)
    {
    }
    void* place() const { return region_.get_address(); }

    static std::string type_name()
    {
        return boost::core::demangle(typeid(T).name());
    }
    // FNV-1a.
    static std::uint64_t fingerprint(std::string_view text)
    {
        std::uint64_t result = 0xcbf29ce484222325;
        for (const char c : text)
            result = (result ^ static_cast<unsigned char>(c)) * 0x100000001b3;
        return result;
    }

    static std::system_error missing(const std::string& what)
    {
        return {std::make_error_code(std::errc::no_such_file_or_directory),
                what};
    }

    // A copy of what stands there, which nobody has vouched for.
    static label label_of(const std::string& name,
                          const common::kernel::named_memory& memory)
    {
        label result;
        if (memory.size() >= sizeof result)
        {
            const boost::interprocess::mapped_region region(
                memory, boost::interprocess::read_only, 0, sizeof result);
            std::memcpy(&result, region.get_address(), sizeof result);
            if (result.magic == label::expected)
                return result;
        }
        throw common::malformed("shared memory '" + name +
                                "' was not made by shared_data::named, or not "
                                "to the end");
    }

    static void check(const std::string& name, const label& its,
                      std::size_t size)
    {
        const label ours;
        std::string wrong;
        if (its.type != ours.type)
            wrong =
                "holds a " +
                std::string(its.type_name,
                            ::strnlen(its.type_name, sizeof its.type_name)) +
                ", not a " + type_name();
        else if (its.size != ours.size || its.alignment != ours.alignment ||
                 size < sizeof(content))
            wrong = "has another layout: " + std::to_string(its.size) +
                    " bytes, not " + std::to_string(ours.size);
        else if (its.boost != ours.boost)
            wrong = "was built with Boost " + std::to_string(its.boost) +
                    ", not " + std::to_string(ours.boost);
        else if (its.abi != ours.abi)
            wrong = "was built for another ABI";
        if (!wrong.empty())
            throw common::malformed("shared memory '" + name + "' " + wrong);
    }

    std::string name_; // empty: not ours to take away
    common::kernel::named_memory memory_;
    boost::interprocess::mapped_region region_;
};

} // namespace shared_data
