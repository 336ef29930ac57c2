// For tests of the CUDA runtime: a fixture that skips without a GPU, and the message of an exception.
#pragma once
#include <bobbin/device.h>
#include <gtest/gtest.h>

#include <string>

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!bobbin::cuda_available(&why)) GTEST_SKIP() << why;
  }
  const bobbin::Device gpu = bobbin::Device::cuda();
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
