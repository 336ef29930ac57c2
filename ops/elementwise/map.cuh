// Elementwise CUDA kernels, one for each functor and compute type. The kernel handles 16-bit storage, strides
// and broadcasting, in branches that all threads take alike.
#pragma once
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/elementwise/map.h"

namespace bobbin {
namespace cuda {

/// How the elements of an operand lie for neighbouring elements of the output: next to each other, all the
/// same one, or in another way.
enum class Layout : std::uint8_t { packed, constant, strided };

struct MapOperand {
  const void* data;
  DType dtype;
  Layout layout;
};

template<int inputs>
struct MapArgs {
  MapOperand in[inputs];
  void* out;
  DType out_dtype;
  bool vectors;  // no operand is strided, and packed ones are aligned to 16 bytes
  bool by_rows;  // these layouts are those of rows, along the innermost dimension of `walk`
  StridedIndex<inputs> walk;
};

constexpr int map_threads = 256;
/// Elements that a thread computes at a time: 32 bytes of the compute type, at most 16 elements.
template<class T>
constexpr int map_width = sizeof(T) == 1 ? 16 : 32 / sizeof(T);
inline constexpr int widest_map = 16;

template<class S, class T, int n>
__device__ __forceinline__ void load_as(const void* data, std::int64_t i, T (&v)[n]) {
  constexpr int width = n * sizeof(S) < 16 ? n : 16 / sizeof(S);
  const auto* from = reinterpret_cast<const Pack<S, width>*>(static_cast<const S*>(data) + i);
#pragma unroll
  for (int p = 0; p < n / width; ++p) {
    const Pack<S, width> x = from[p];
#pragma unroll
    for (int k = 0; k < width; ++k) v[p * width + k] = widen<S>(x.v[k]);
  }
}

template<class S, class T, int n>
__device__ __forceinline__ void store_as(void* data, std::int64_t i, const T (&v)[n]) {
  constexpr int width = n * sizeof(S) < 16 ? n : 16 / sizeof(S);
  auto* to = reinterpret_cast<Pack<S, width>*>(static_cast<S*>(data) + i);
#pragma unroll
  for (int p = 0; p < n / width; ++p) {
    Pack<S, width> x;
#pragma unroll
    for (int k = 0; k < width; ++k) x.v[k] = narrow<S>(v[p * width + k]);
    to[p] = x;
  }
}

/// Loads n consecutive elements from index i on, converted to T.
template<class T, int n>
__device__ __forceinline__ void load(const void* data, [[maybe_unused]] DType d, std::int64_t i, T (&v)[n]) {
  if constexpr (std::is_same_v<T, float>) {
    if (d == DType::bf16) return load_as<BFloat16>(data, i, v);
    if (d == DType::f16) return load_as<Half>(data, i, v);
  }
  load_as<T>(data, i, v);
}
template<class T, int n>
__device__ __forceinline__ void store(void* data, [[maybe_unused]] DType d, std::int64_t i, const T (&v)[n]) {
  if constexpr (std::is_same_v<T, float>) {
    if (d == DType::bf16) return store_as<BFloat16>(data, i, v);
    if (d == DType::f16) return store_as<Half>(data, i, v);
  }
  store_as<T>(data, i, v);
}

template<class F, class... In>
__global__ void __launch_bounds__(map_threads) map_kernel(const F f, const MapArgs<sizeof...(In)> a) {
  using R = std::invoke_result_t<F, In...>;
  constexpr int n = map_width<std::tuple_element_t<sizeof...(In) - 1, std::tuple<In...>>>;
  constexpr auto all = std::index_sequence_for<In...>();
  await_previous();
  const std::int64_t numel = a.walk.numel, tile = std::int64_t{map_threads} * n;
  for (std::int64_t first = blockIdx.x * tile; first < numel; first += gridDim.x * tile) {
    const std::int64_t i = first + threadIdx.x * n;
    if (a.vectors && i + n <= numel) {
      std::tuple<Pack<In, n>...> v;
      std::int64_t at[sizeof...(In)] = {};
      if (a.by_rows) a.walk(i, at);
      [&]<std::size_t... k>(std::index_sequence<k...>) {
        const auto fetch = [&](auto& pack, const MapOperand& x, std::int64_t offset) {
          if (x.layout == Layout::packed) return load(x.data, x.dtype, a.by_rows ? offset : i, pack.v);
          using T = std::remove_reference_t<decltype(pack.v[0])>;
          T one[1];
          load(x.data, x.dtype, offset, one);
#pragma unroll
          for (int j = 0; j < n; ++j) pack.v[j] = one[0];
        };
        (fetch(std::get<k>(v), a.in[k], at[k]), ...);
        R y[n];
#pragma unroll
        for (int j = 0; j < n; ++j) y[j] = f(std::get<k>(v).v[j]...);
        store(a.out, a.out_dtype, i, y);
      }
      (all);
    } else {
      // Consecutive threads compute consecutive elements. Exception: in the last tile of vectors, each thread
      // computes n consecutive elements one by one.
      for (int j = 0; j < n; ++j) {
        const std::int64_t e = a.vectors ? i + j : first + j * map_threads + threadIdx.x;
        if (e >= numel) break;
        std::int64_t at[sizeof...(In)];
        a.walk(e, at);
        [&]<std::size_t... k>(std::index_sequence<k...>) {
          const auto fetch = [&]<class T>(Type<T>, const MapOperand& x, std::int64_t offset) {
            T one[1];
            load(x.data, x.dtype, offset, one);
            return one[0];
          };
          const R y[1] = {f(fetch(Type<In>{}, a.in[k], at[k])...)};
          store(a.out, a.out_dtype, e, y);
        }
        (all);
      }
    }
  }
}

/// The layout of operand k along the innermost dimension, whose size is a multiple of every map_width.
template<int inputs>
Layout row_layout(const StridedIndex<inputs>& walk, int k) {
  if (walk.stride[k][0] == 0) return Layout::constant;
  bool packed = walk.stride[k][0] == 1;
  for (int d = 1; d < walk.rank; ++d) packed = packed && walk.stride[k][d] % widest_map == 0;
  return packed ? Layout::packed : Layout::strided;
}

/// The arguments of a kernel that writes y, which is contiguous. They do not depend on functor or compute
/// type.
template<int inputs>
MapArgs<inputs> map_args(Inputs x, const Tensor& y) {
  std::array<const Tensor*, inputs> operands;
  for (int k = 0; k < inputs; ++k) operands[static_cast<std::size_t>(k)] = &x[static_cast<std::size_t>(k)];
  MapArgs<inputs> a{
      {}, y.raw(), y.dtype(), is_aligned(y.raw()), false, StridedIndex<inputs>(y.shape(), operands)};
  a.by_rows = a.walk.rank > 1 && a.walk.size[0] % widest_map == 0;
  for (int k = 0; k < inputs; ++k) {
    const Tensor& t = *operands[static_cast<std::size_t>(k)];
    const Layout layout = a.by_rows              ? row_layout(a.walk, k)
                          : a.walk.constant(k)   ? Layout::constant
                          : a.walk.contiguous(k) ? Layout::packed
                                                 : Layout::strided;
    a.in[k] = {t.raw(), t.dtype(), layout};
    a.vectors = a.vectors && layout != Layout::strided && (layout == Layout::constant || is_aligned(t.raw()));
  }
  return a;
}

/// y = f(x...), broadcast; y is contiguous. In are the types that f takes, one type for each input.
template<class... In, class F>
void map(std::string_view op, const F& f, Inputs x, const Tensor& y) {
  constexpr int inputs = sizeof...(In);
  if (y.numel() == 0) return;
  constexpr int n = map_width<std::tuple_element_t<inputs - 1, std::tuple<In...>>>;
  launch(op,
         {.device = y.device(),
          .grid = blocks_for(y.numel(), map_threads * n),
          .block = map_threads,
          .early = true},
         map_kernel<F, In...>, f, map_args<inputs>(x, y));
}

}  // namespace cuda

template<class Self, class F>
void Unary<Self, F>::cuda(Inputs x, Tensor& y) const {
  detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { cuda::map<T>(Self::name, f, x, y); });
}

template<class Self, class F>
void Binary<Self, F>::cuda(Inputs x, Tensor& y) const {
  detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { cuda::map<T, T>(Self::name, f, x, y); });
}

template<class Self, class F>
void Ternary<Self, F>::cuda(Inputs x, Tensor& y) const {
  detail::visit_compute<F>(x[0].dtype(), [&]<class T>(Type<T>) { cuda::map<T, T, T>(Self::name, f, x, y); });
}

// The kernels of derivatives are compiled in backward.cu alone, though every source that includes the
// derivatives of other operations uses them.
#define BOBBIN_ELSEWHERE(Kind, Op) extern template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
BOBBIN_BACKWARD_OPS(BOBBIN_ELSEWHERE)
#undef BOBBIN_ELSEWHERE
#define BOBBIN_ELSEWHERE(Kind, Op) \
  extern template void Binary<Backward<Op>, fn::Derivative<fn::Op>>::cuda(Inputs, Tensor&) const;
BOBBIN_SMOOTH_OPS(BOBBIN_ELSEWHERE)
#undef BOBBIN_ELSEWHERE

}  // namespace bobbin

/// Compiles the kernels of an operation of ops/elementwise/list.h.
#define BOBBIN_INSTANTIATE_CUDA(Kind, Op) template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
