// A file of its own: CUB takes long to compile.
#include <cub/device/device_radix_sort.cuh>

#include "runtime.h"
#include "sort.h"

namespace bobbin::cuda {

void sort_pairs(const Tensor& keys, const Tensor& values, const Tensor& sorted_keys,
                const Tensor& sorted_values, int bits) {
  const std::int64_t n = keys.numel();
  if (n == 0) return;
  const Device d = keys.device();
  const Use use(d);
  std::size_t bytes = 0;
  const auto sort = [&](void* scratch) {
    check(cub::DeviceRadixSort::SortPairs(
              scratch, bytes, static_cast<const std::uint64_t*>(keys.raw()),
              static_cast<std::uint64_t*>(sorted_keys.raw()), static_cast<const std::int64_t*>(values.raw()),
              static_cast<std::int64_t*>(sorted_values.raw()), n, 0, bits, stream(d)),
          "sort");
  };
  sort(nullptr);  // only asks how many bytes
  const Tensor scratch = empty({static_cast<std::int64_t>(bytes)}, DType::u8, d);
  sort(scratch.raw());
}

}  // namespace bobbin::cuda
