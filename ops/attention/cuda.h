// The arguments of attention's CUDA kernels, and who launches them.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cstdint>

namespace bobbin::cuda {

/// The arguments: dimensions and pointers by the names of Attention.
struct AttentionArgs {
  const void *query = nullptr, *key = nullptr, *value = nullptr, *output = nullptr, *grad = nullptr;
  void* result[3] = {};  ///< forward: the output; backward: the gradients of query, key and value
  /// Of each row: a base, and the logarithm to base 2 of the sum of 2^(log2(e) logits - base); null if nobody
  /// asks.
  float *base = nullptr, *log_sum = nullptr;
  float* delta = nullptr;  ///< backward: of each row, scale times the sum of gradient times output
  int l = 0, s = 0, d = 0, e = 0;
  int heads = 0, group = 0;         ///< heads of queries, and how many of them share a head of keys
  float scale = 0, log2_scale = 0;  ///< the latter times log2(e)
  bool causal = false;
  bool whole = false;  ///< the rows of all tensors are whole numbers of aligned chunks of 16 bytes

  const void* mask = nullptr;
  DType mask_dtype = DType::boolean;
  std::int64_t mask_stride[4] = {};
};

/// The rows of a block, of 16 in each of 8 warps, and the rows of the other side that it takes at once.
constexpr int attention_rows = 128, attention_step = 64;
/// The bytes of shared memory of a backward block, for 16-bit types and this head size: its own rows of two
/// tensors, and two stages of two tiles and of three numbers for each row.
constexpr int attention_shared(int head_size) {
  return 2 * attention_rows * head_size * 2 + 2 * attention_step * (2 * head_size * 2 + 3 * 4);
}

/// Enqueues the kernels: forward, or both of backward. `batch` counts the groups of `heads` heads.
template<class T>
void run_attention(Device, int batch, bool backward, const AttentionArgs&);

}  // namespace bobbin::cuda
