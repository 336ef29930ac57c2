// What tests that run on every device share.
#pragma once
#include <bobbin/bobbin.h>

#include <vector>

namespace bobbin::tests {

/// The CPU, and a GPU if there is one.
inline std::vector<Device> devices() {
  std::vector<Device> all{Device::cpu()};
  if (cuda_available()) all.push_back(Device::cuda());
  return all;
}

/// All elements, whatever the device.
inline std::vector<double> elements(const Tensor& t) {
  return to(t.detach(), Device::cpu()).to_vector<double>();
}

}  // namespace bobbin::tests
