// For tests on a GPU: fixtures that skip without one, and the message of an exception.
#pragma once
#include <bobbin/allocator.h>
#include <bobbin/device.h>
#include <bobbin/random.h>
#include <gtest/gtest.h>

#include <string>

inline const bobbin::Device gpu = bobbin::Device::cuda();

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!bobbin::cuda_available(&why)) GTEST_SKIP() << why;
  }
};

/// The same with random numbers from `seed` and, where asked for, poisoned allocations.
template<std::uint64_t seed, bool poison = true>
class SeededCuda : public Cuda {
 protected:
  void SetUp() override {
    Cuda::SetUp();
    bobbin::manual_seed(seed);
    bobbin::poison_allocations(poison);
  }
  void TearDown() override { bobbin::poison_allocations(false); }
};

/// The message of the E that f throws.
template<class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was thrown";
}
