// Makes a chosen allocation fail: replaces operator new and aligned_alloc in the program whose one source
// includes this.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/error.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace bobbin::tests {

enum class Fails {
  once,      // the n-th allocation alone
  from_then  // the n-th and all that follow, until the step has thrown
};

inline constexpr std::int64_t never = std::int64_t{1} << 60;
inline std::atomic<std::int64_t> left = never;  // allocations that succeed before one fails
inline std::atomic<bool> all_that_follow = false, reached = false;
inline std::atomic<std::int64_t> blocks = 0;  // allocated with new and not freed

inline bool fails_now() {
  if (left.load() == never) return false;
  const std::int64_t n = left.fetch_sub(1);
  if (n > 0 || (n < 0 && !all_that_follow)) return false;
  reached = true;
  return true;
}

inline void* allocate(std::size_t bytes, std::size_t alignment) {
  void* p = nullptr;
  if (fails_now() || posix_memalign(&p, std::max(alignment, sizeof(void*)), bytes) != 0) return nullptr;
  return p;
}

inline void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const p = allocate(bytes, alignment);
  if (!p) throw std::bad_alloc();
  ++blocks;
  return p;
}

inline void release(void* p) {
  if (p) --blocks;
  std::free(p);
}

// Tensors are allocated from the system each time.
inline const int uncached = setenv("BOBBIN_CACHE", "0", 1);

}  // namespace bobbin::tests

void* operator new(std::size_t n) { return bobbin::tests::allocate_or_throw(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) {
  return bobbin::tests::allocate_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new(std::size_t n,
                   const std::nothrow_t&) noexcept {  // std::stable_sort; AddressSanitizer has its own
  void* const p = bobbin::tests::allocate(n, alignof(std::max_align_t));
  bobbin::tests::blocks += p != nullptr;
  return p;
}
void operator delete(void* p) noexcept { bobbin::tests::release(p); }
void operator delete(void* p, std::size_t) noexcept { bobbin::tests::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { bobbin::tests::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { bobbin::tests::release(p); }
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return bobbin::tests::allocate(bytes, alignment);
}

namespace bobbin::tests {

enum class Outcome { done, threw, wrong };

// Calls f while allocation n fails. Any exception but those of missing memory is wrong.
template<class F>
Outcome failing(std::int64_t n, Fails mode, const F& f) {
  reached = false, all_that_follow = mode == Fails::from_then;
  left = n;
  Outcome outcome = Outcome::done;
  try {
    f();
  } catch (const std::bad_alloc&) {
    outcome = Outcome::threw;
  } catch (const OutOfMemory&) {
    outcome = Outcome::threw;
  } catch (...) {
    outcome = Outcome::wrong;
  }
  left = never;
  return outcome;
}

}  // namespace bobbin::tests
