// Sorting on a GPU. This header includes no CUDA header.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin::cuda {

/// Keys, and one value per key.
struct Pairs {
  Tensor keys, values;
};
/// Enqueues a stable sort of n pairs by their keys, taken as unsigned numbers of which only the lowest `bits`
/// (1 to 64) count. All tensors are contiguous i64[n], and no two share memory. The result is each given
/// tensor or its spare; the contents of the other one are undefined.
Pairs sort_pairs(const Pairs&, const Pairs& spare, int bits);

}  // namespace bobbin::cuda
