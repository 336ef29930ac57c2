// What the GPU kernels of layer norm, RMS norm and group norm share: the weights of the elements of a row.
#pragma once
#include "core/cuda/pack.cuh"
#include "core/cuda/strided.cuh"
#include "ops/cuda/rows/packed.cuh"
#include "ops/norm/row_norm.h"

namespace bobbin::cuda {

/// Reads the weights (or biases) of neighbouring elements of a row.
template<class T>
struct RowWeights {
  using C = Compute<T>;
  enum Mode { pack, pack_shares_one, each };

  std::int64_t columns, channels,
      groups;  ///< elements, and different weights, of a row; RowNormLayout::groups
  Divider by_repeat;
  Mode mode;

  /// `aligned`: whether all operands begin at multiples of 16 bytes.
  RowWeights(std::string_view op, const RowNormLayout& l, bool aligned)
      : columns(l.length),
        channels(l.length / l.repeat),
        groups(l.groups),
        by_repeat(static_cast<std::uint32_t>(l.repeat)),
        mode(l.repeat % per_pack<T> == 0                              ? pack_shares_one
             : l.repeat == 1 && aligned && columns % per_pack<T> == 0 ? pack
                                                                      : each) {
    if (l.repeat > 1 && columns >> 31)
      fail<ShapeError>(op, ": groups of 2^31 or more elements do not fit its kernels; got ", columns);
  }

#ifdef __CUDACC__
  /// The index of the first weight of a row.
  __device__ std::int64_t first(std::int64_t row) const { return groups > 1 ? row % groups * channels : 0; }
  /// The weights of n elements from a column on; `otherwise` for all where w is null or the row ends before.
  template<int n>
  __device__ __forceinline__ void load(const T* w, std::int64_t first, std::int64_t column, C otherwise,
                                       C (&v)[n]) const {
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = otherwise;
    if (!w || column < 0 || column + n > columns) return;
    w += first;
    if constexpr (n == per_pack<T>) {
      if (mode == pack) return unpack<T>(*reinterpret_cast<const uint4*>(w + column), v);
      if (mode == pack_shares_one) {
        const C one = widen(w[by_repeat(static_cast<std::uint32_t>(column))]);
#pragma unroll
        for (int i = 0; i < n; ++i) v[i] = one;
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const std::int64_t at =
          by_repeat.d == 1 ? column + i : by_repeat(static_cast<std::uint32_t>(column + i));
      v[i] = widen(w[at]);
    }
  }
#endif
};

/// A row-major tensor as [rows, length].
inline Tensor as_rows(const Tensor& t, const RowNormCall& c) {
  return t.alias({c.rows(), c.layout.length}, {c.layout.length, 1}, t.offset());
}

/// Writes the gradients of weight and bias where they are defined, and, if it returns true, that of x.
/// Defined in row_norm_gradients.cu.
template<class T>
bool weight_gradients(const RowNormCall&);

}  // namespace bobbin::cuda
