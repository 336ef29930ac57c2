#include "ops/view/transfer.h"

namespace bobbin {

Tensor to(const Tensor& x, Device d) {
  require(d);
  return x.device() == d ? x : record(ToDevice{d}, {x});
}

std::vector<Sample> ToDevice::samples() {
  const auto through = [](Device d) {
    return [d](Inputs x) { return record(ToDevice{x[0].device()}, {record(ToDevice{d}, {x[0]})}); };
  };
  std::vector<Sample> samples{{"to the CPU", {sample_input({3, 4})}, through(Device::cpu())},
                              {"empty", {sample_input({0, 3})}, through(Device::cpu())},
                              invalid(
                                  "undefined", {Tensor()}, [](Inputs x) { return record(ToDevice{}, x); },
                                  "to_device: its tensors are undefined")};
  if (cuda_available()) samples.push_back({"to a GPU", {sample_input({3, 4})}, through(Device::cuda())});
  return samples;
}

}  // namespace bobbin
