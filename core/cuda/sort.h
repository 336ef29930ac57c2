// Sorting on a GPU. No CUDA header in here.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin::cuda {

/// Enqueues a stable sort of n pairs by their keys, taken as unsigned numbers of which only the lowest `bits`
/// (1 to 64) are looked at. All tensors are contiguous i64[n], and no two share memory.
void sort_pairs(const Tensor& keys, const Tensor& values, const Tensor& sorted_keys,
                const Tensor& sorted_values, int bits);

}  // namespace bobbin::cuda
