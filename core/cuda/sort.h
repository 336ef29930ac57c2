// Sorting on a GPU. No CUDA header in here.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin::cuda {

/// Keys, and what belongs to them.
struct Pairs {
  Tensor keys, values;
};
/// Enqueues a stable sort of n pairs by their keys, taken as unsigned numbers of which only the lowest `bits`
/// (1 to 64) are looked at. All tensors are contiguous i64[n], and no two share memory: each of those that
/// are returned is a given one or its spare, and the others' elements are lost.
Pairs sort_pairs(const Pairs&, const Pairs& spare, int bits);

}  // namespace bobbin::cuda
