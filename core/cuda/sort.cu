// sort_pairs, with CUB. A separate source, because CUB takes long to compile.
#include <cub/device/device_radix_sort.cuh>

#include "core/cuda/runtime.h"
#include "core/cuda/sort.h"

namespace bobbin::cuda {

Pairs sort_pairs(const Pairs& x, const Pairs& spare, int bits) {
  const std::int64_t n = x.keys.numel();
  if (n == 0) return x;
  const Device d = x.keys.device();
  const DeviceGuard use(d);
  cub::DoubleBuffer<std::uint64_t> keys(x.keys.raw<std::uint64_t>(), spare.keys.raw<std::uint64_t>());
  cub::DoubleBuffer<std::int64_t> values(x.values.raw<std::int64_t>(), spare.values.raw<std::int64_t>());
  std::size_t bytes = 0;
  const auto sort = [&](void* scratch) {
    check(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, values, n, 0, bits, stream(d)), "sort");
  };
  sort(nullptr);  // only returns the number of bytes
  const Tensor scratch = empty({static_cast<std::int64_t>(bytes)}, DType::u8, d);
  sort(scratch.raw());
  return {keys.Current() == x.keys.raw() ? x.keys : spare.keys,
          values.Current() == x.values.raw() ? x.values : spare.values};
}

}  // namespace bobbin::cuda
