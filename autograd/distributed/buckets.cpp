// Packs tensors into one message, and adds the messages of all ranks.
#include "autograd/distributed/buckets.h"

#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cstring>

#include "autograd/distributed/group_state.h"

namespace bobbin::dist {

std::vector<Bucket> buckets(const std::vector<TensorSpec>& specs, const std::vector<bool>& present,
                            std::int64_t bytes) {
  std::vector<Bucket> out;
  std::int64_t filled = 0;
  for (std::size_t i = specs.size(); i-- > 0;) {
    if (!present[i]) continue;
    const std::int64_t more = numel(specs[i].shape) * size_of(specs[i].dtype);
    const bool fits =
        !out.empty() && specs[out.back().tensors.front()].dtype == specs[i].dtype && filled + more <= bytes;
    if (!fits) {
      out.push_back({static_cast<int>(out.size()), {}});
      filled = 0;
    }
    out.back().tensors.push_back(i);
    filled += more;
  }
  return out;
}

std::vector<Tensor> add_bucket(detail::GroupState& state, std::int64_t shards,
                               const std::vector<TensorSpec>& specs,
                               const std::vector<std::vector<Tensor>>& terms, const std::string& what,
                               bool exact) {
  const DType dtype = specs.front().dtype;
  std::int64_t elements = 0;
  for (const TensorSpec& s : specs) elements += numel(s.shape);
  const auto bytes = [&](const TensorSpec& s) {
    return static_cast<std::size_t>(numel(s.shape) * size_of(dtype));
  };
  // The terms of each node, one behind the other.
  std::vector<std::byte*> packed;
  std::byte* to_pack = state.outgoing.get(terms.size() * static_cast<std::size_t>(elements * size_of(dtype)));
  for (const auto& node : terms) {
    packed.push_back(to_pack);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const std::size_t size = bytes(specs[i]);
      if (!node[i]) {
        // x + -0 is x, for every x.
        visit_some<double, float>(dtype, [&]<class T>(Type<T>) {
          std::fill_n(reinterpret_cast<T*>(to_pack), size / sizeof(T), static_cast<T>(-0.0));
        });
      } else if (size > 0) {
        const Tensor host = contiguous(to(node[i], Device::cpu()));
        std::memcpy(to_pack, host.raw(), size);
      }
      to_pack += size;
    }
  }
  Call call(exact ? "add_gradients" : "all_reduce", what, TensorSpec{{elements}, dtype, Device::cpu()});
  state.begin(call);
  const Tensor sum = empty({elements}, dtype);
  if (exact || !state.transport->adds()) {
    state.reduce(call, dtype, shards, {packed.begin(), packed.end()}, elements, sum.raw<std::byte>());
  } else {
    visit_some<double, float>(dtype, [&]<class T>(Type<T>) {
      T* const total = sum.raw<T>();
      std::copy_n(reinterpret_cast<const T*>(packed.front()), elements, total);
      for (std::size_t k = 1; k < packed.size(); ++k)
        for (std::int64_t i = 0; i < elements; ++i) total[i] += reinterpret_cast<const T*>(packed[k])[i];
    });
    const int lost = state.transport->all_reduce(sum.raw(), static_cast<std::size_t>(elements),
                                                 dtype == DType::f64, state.timeout);
    if (lost >= 0) state.lose(call, lost);
  }
  std::vector<Tensor> out;
  std::int64_t at = 0;
  for (const TensorSpec& s : specs) {
    const std::int64_t n = numel(s.shape);
    // A copy, as a gradient may be edited and must not keep the bucket.
    out.push_back(to(clone(reshape(slice(sum, 0, at, at + n), s.shape)), s.device));
    at += n;
  }
  return out;
}

}  // namespace bobbin::dist
