// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"
#include "common/linux/memfd.hpp"

#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace common {

/// What may live in memory that several processes map at different addresses.
/// In three parts, so that the compiler says which one a type lacks.  (Pointers
/// in a class that is no aggregate no compiler can see: leave them out.)
template <class T>
concept without_addresses = !detail::address<T> && !detail::has_address<T>();
template <class T>
concept without_virtual_functions = !std::is_polymorphic_v<T>;
template <class T>
concept owns_nothing = // that had to be freed when one process of several ends
    std::is_trivially_destructible_v<T>;
template <class T>
concept begins_in_any_page = alignof(T) <= 4096; // as mappings do
template <class T>
concept shareable = without_addresses<T> && without_virtual_functions<T> &&
    owns_nothing<T> && begins_in_any_page<T>;

/// A piece of shared memory, mapped into this process.
///
/// Travels as an argument: a process that is being started inherits the
/// descriptor; one that runs already opens it through /proc, which the kernel
/// allows to the same user only.  Gone when the last process that holds it is
/// gone, however it went.
class segment
{
public:
    segment() = default;

    /// `size` bytes of zeros, the first `reserved` with memory behind them.
    segment(const std::string& name, std::size_t size, std::size_t reserved)
        : segment(kernel::memfd(name, size, reserved), size)
    {
    }

    /// Memory of another process, whose descriptor was sent here.  Throws when
    /// it is not sealed shared memory of exactly `size` bytes.
    static segment adopt(kernel::descriptor fd, std::size_t size)
    {
        return segment(kernel::memfd(std::move(fd), size), size);
    }

    std::byte* data() const
    {
        return static_cast<std::byte*>(held_->region.get_address());
    }
    std::size_t size() const { return held_->region.get_size(); }
    const kernel::memfd& memory() const { return held_->memory; }
    explicit operator bool() const { return held_ != nullptr; }

private:
    friend struct codec<segment>;

    struct mapping
    {
        kernel::memfd memory;
        boost::interprocess::mapped_region region;
    };

    segment(kernel::memfd memory, std::size_t size)
    {
        auto region = kernel::map(memory);
        if (region.get_size() != size)
            throw malformed("shared memory is not as large as announced");
        held_ = std::make_shared<mapping>(
            mapping{std::move(memory), std::move(region)});
    }

    std::shared_ptr<mapping> held_;
};

template <>
struct codec<segment>
{
    struct address_label // where another process finds the memory
    {
        std::uint64_t size = 0;
        std::uint64_t identity = 0;
        std::int32_t process = 0; // 0: inherited under the number `descriptor`
        std::int32_t descriptor = 0;
    };

    static std::size_t size(const segment&) { return sizeof(address_label); }

    static void write(writer& to, const segment& one)
    {
        const int fd = one.memory().get();
        address_label label{one.size(), one.memory().identity(), ::getpid(),
                            fd};
        if (to.descriptors != nullptr)
        {
            label.process = 0;
            label.descriptor = 3 + static_cast<int>(to.descriptors->size());
            to.descriptors->push_back(fd);
        }
        if (to.kept != nullptr) // until it has certainly been read
            to.kept->push_back(one.held_);
        else
            throw std::invalid_argument(
                "shared memory cannot be sent back as a result");
        encode(to, label);
    }

    /// The same memory sent twice is mapped once.
    static segment read(reader& from)
    {
        const auto label = decode<address_label>(from);
        // What was inherited is ours to close, also if it is known already.
        kernel::descriptor fd(label.process == 0 ? label.descriptor : -1);
        static std::mutex mutex;
        static std::unordered_map<std::uint64_t,
                                  std::weak_ptr<segment::mapping>>
            known;
        const std::lock_guard hold(mutex);
        segment result;
        if (const auto at = known.find(label.identity); at != known.end())
            result.held_ = at->second.lock();
        if (!result.held_ || result.size() != label.size)
        {
            if (!fd)
                fd = open(label);
            result =
                segment(kernel::memfd(std::move(fd), label.size), label.size);
            if (result.memory().identity() != label.identity)
                throw malformed("shared memory of process " +
                                std::to_string(label.process) +
                                " was closed before its task ran");
            std::erase_if(known,
                          [](auto& one) { return one.second.expired(); });
            known[label.identity] = result.held_;
        }
        return result;
    }

private:
    static kernel::descriptor open(const address_label& label)
    {
        const auto path = "/proc/" + std::to_string(label.process) + "/fd/" +
                          std::to_string(label.descriptor);
        kernel::descriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (!fd)
            kernel::fail("opening shared memory " + path);
        return fd;
    }
};

/// One object that several processes use.
///
///     common::shared<std::atomic<int>> hits{0};
///
/// Copies refer to the same object.  Gone with its last process; a process
/// that dies leaves the object as its last write left it.
template <shareable T>
class shared
{
public:
    template <class... A>
    requires std::is_constructible_v<T, A...>
    explicit shared(A&&... arguments)
        : memory_("shared object", sizeof(T), sizeof(T))
    {
        ::new (memory_.data()) T(std::forward<A>(arguments)...);
    }

    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }
    T* get() const
    {
        return std::launder(reinterpret_cast<T*>(memory_.data()));
    }

private:
    friend struct codec<shared>;
    struct attach
    {
    };
    shared(attach, segment memory) : memory_(std::move(memory))
    {
        if (memory_.size() < sizeof(T))
            throw malformed("shared memory is smaller than its object");
    }
    segment memory_;
};

template <shareable T>
struct codec<shared<T>>
{
    static std::size_t size(const shared<T>& one)
    {
        return encoded_size(one.memory_);
    }
    static void write(writer& to, const shared<T>& one)
    {
        encode(to, one.memory_);
    }
    static shared<T> read(reader& from)
    {
        return shared<T>(typename shared<T>::attach{}, decode<segment>(from));
    }
};

/// A fixed number of objects that several processes use; each is `T()` at
/// first, which is zero for a number.
template <shareable T>
requires std::is_default_constructible_v<T>
class shared_array
{
public:
    /// Reserves memory for all of it: throws here, instead of dying later.
    explicit shared_array(std::size_t size)
        : memory_("shared array", bytes(size), bytes(size))
        , size_(size)
    {
        std::uninitialized_value_construct_n(begin(), size);
    }

    std::size_t size() const { return size_; }
    T* data() const
    {
        return std::launder(reinterpret_cast<T*>(memory_.data()));
    }
    T* begin() const { return data(); }
    T* end() const { return data() + size_; }
    T& operator[](std::size_t i) const { return data()[i]; }
    std::span<T> span() const { return {data(), size_}; }

private:
    friend struct codec<shared_array>;
    shared_array(segment memory, std::size_t size)
        : memory_(std::move(memory))
        , size_(size)
    {
        if (memory_.size() < bytes(size))
            throw malformed("shared memory is smaller than its array");
    }
    static std::size_t bytes(std::size_t size)
    {
        if (size > (std::size_t{1} << 46) / sizeof(T))
            throw std::length_error("shared array of " + std::to_string(size) +
                                    " elements");
        return size == 0 ? 1 : size * sizeof(T); // nothing cannot be mapped
    }

    segment memory_;
    std::size_t size_ = 0;
};

template <class T>
struct codec<shared_array<T>>
{
    static std::size_t size(const shared_array<T>& all)
    {
        return sizeof(std::uint64_t) + encoded_size(all.memory_);
    }
    static void write(writer& to, const shared_array<T>& all)
    {
        encode(to, std::uint64_t{all.size_});
        encode(to, all.memory_);
    }
    static shared_array<T> read(reader& from)
    {
        const auto n = decode<std::uint64_t>(from);
        return shared_array<T>(decode<segment>(from),
                               static_cast<std::size_t>(n));
    }
};

} // namespace common
