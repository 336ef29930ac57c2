// Reductions on a GPU: the launches, and which reducer each operation uses. A long reduction is cut into
// segments, whose accumulators a second kernel combines.
#include <array>
#include <cmath>

#include "core/ceil_div.h"
#include "core/cuda/runtime.h"
#include "ops/elementwise/map.cuh"
#include "ops/reduce/kernel.cuh"
#include "ops/reduce/reduce.h"

namespace bobbin {
namespace {

using namespace reduction;
using reducer::Power;

constexpr std::int64_t max_elements = std::int64_t{1} << 30;  // of a result in one launch: indices are int

// Calls g(chunk) for chunks of at most max_elements elements of each result, halved along the outermost
// reduced dimension.
template<class F, class G>
void for_each_chunk(const Args<F>& a, const G& g) {
  if (a.length <= max_elements) return g(a);
  const int outermost = a.reduced.rank - 1;
  const std::int64_t size = a.reduced.size[outermost], half = size / 2, inner = a.length / size;
  Args<F> low = a, high = a;
  low.reduced.resize(half);
  low.length = half * inner;
  high.reduced.resize(size - half);
  high.length = a.length - low.length;
  high.begin += low.length;
  high.x += (half * a.reduced.x(outermost)) << a.item_bits;
  for_each_chunk(low, g);
  for_each_chunk(high, g);
}

// Reduces x over `axes` (normalised) into `y`, and the index that the accumulators keep into `index`. Either
// may be null; both are row-major.
template<class F>
void reduce(std::string_view op, const F& f, const Tensor& x, const Axes& axes, const Tensor* y,
            const Tensor* index = nullptr) {
  const Device device = x.device();
  const ReduceConfig config(x, axes, index != nullptr, cuda::properties(device).sms);
  if (config.results == 0) return;
  const auto bits = [](std::int64_t power) { return std::countr_zero(static_cast<std::uint64_t>(power)); };
  Args<F> whole{.f = f,
                .kept = config.kept,
                .reduced = config.reduced,
                .x = x.raw<char>(),
                .y = y ? y->raw() : nullptr,
                .index = index ? index->raw<std::int64_t>() : nullptr,
                .segments = nullptr,
                .results = config.results,
                .total = config.length,
                .begin = 0,
                .length = config.length,
                .segment_length = 0,
                .first_segment = 0,
                .segment_count = 0,
                .x_dtype = x.dtype(),
                .y_dtype = y ? y->dtype() : DType::i64,
                .group_bits = bits(config.group),
                .step_bits = bits(config.step),
                .item_bits = bits(size_of(x.dtype())),
                .vectorized = config.vectorized};
  for_each_chunk(whole, [&](const Args<F>&) { whole.segment_count += config.segments; });
  Tensor accumulators;
  if (whole.segment_count > 1) {
    const std::int64_t bytes =
        config.results * whole.segment_count * static_cast<std::int64_t>(sizeof(Accumulator<F>));
    accumulators = empty({bytes}, DType::u8, device);
    whole.segments = static_cast<Accumulator<F>*>(accumulators.raw());
  }
  for_each_chunk(whole, [&](Args<F> chunk) {
    chunk.segment_length = ceil_div(ceil_div(chunk.length, config.segments), 64) * 64;
    chunk.first_segment = whole.first_segment;
    whole.first_segment += config.segments;
    cuda::launch(op,
                 {.device = device,
                  .grid = {config.blocks(), static_cast<unsigned>(config.segments)},
                  .block = static_cast<unsigned>(config.threads)},
                 reduce_segments<F>, chunk);
  });
  if (!accumulators) return;
  const int group =
      std::min(combine_threads, static_cast<int>(std::bit_ceil(static_cast<unsigned>(whole.segment_count))));
  cuda::launch(op,
               {.device = device,
                .grid = cuda::blocks_for(config.results * group, combine_threads),
                .block = combine_threads},
               combine_segments<F>, whole, group);
}

void sum_or_mean(std::string_view op, bool mean, const ReductionAxes& over, const Tensor& x,
                 const Tensor& y) {
  const Axes axes = over.normalized(x.shape());
  if (is_floating(x.dtype()))
    reduce(op, reducer::Sum<double, double>{{}, mean}, x, axes, &y);
  else
    reduce(op, reducer::Sum<std::int64_t, std::int64_t>{}, x, axes, &y);
}

template<bool largest>
void extreme(std::string_view op, const ReductionAxes& over, const Tensor& x, const Tensor* y,
             const Tensor* index) {
  const Axes axes = over.normalized(x.shape());
  if (x.dtype() == DType::f64)
    reduce(op, reducer::Extreme<double, largest>{}, x, axes, y, index);
  else if (is_floating(x.dtype()))
    reduce(op, reducer::Extreme<float, largest>{}, x, axes, y, index);
  else
    reduce(op, reducer::Extreme<std::int64_t, largest>{}, x, axes, y, index);
}

// x - mean, rounded once.
struct SubtractMean {
  template<class T>
  __device__ T operator()(T x, double mean) const {
    return static_cast<T>(static_cast<double>(x) - mean);
  }
};

// A standard deviation, or where its squares have left the range, `scale` times the norm of the deviations.
struct InRange {
  double scale;
  __device__ double operator()(double deviation, double norm) const {
    return reducer::squares_leave_range(deviation) ? norm * scale : deviation;
  }
};

}  // namespace

void Sum::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, false, over, x[0], y); }
void Mean::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, true, over, x[0], y); }
void Var::cuda(Inputs x, Tensor& y) const {
  reduce(name, reducer::Variance{correction, false}, x[0], over.normalized(x[0].shape()), &y);
}
void Std::cuda(Inputs x, Tensor& y) const {
  reduce(name, reducer::Variance{correction, true}, x[0], over.normalized(x[0].shape()), &y);
  const double freedom = static_cast<double>(over.count(x[0].shape())) - correction;
  if (y.dtype() != DType::f64 || y.numel() == 0 || !(freedom > 0)) return;
  // The norm of the deviations has no squares out of range.
  Tensor d = empty(x[0].spec()), scaled = empty(y.spec());
  Deviation{over.axes}.cuda(x, d);
  Norm{over}.cuda(std::array{d}, scaled);
  cuda::map<double, double>(name, InRange{1 / std::sqrt(freedom)}, std::array{y, scaled}, y);
}

void Deviation::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const ReductionAxes over{axes, true};
  const Tensor means = empty(over.infer(name, x[0], DType::f64));
  sum_or_mean(name, true, over, x[0], means);
  const std::array in{x[0], means};
  if (y.dtype() == DType::f64)
    cuda::map<double, double>(name, SubtractMean{}, in, y);
  else
    cuda::map<float, double>(name, SubtractMean{}, in, y);
}

template<bool largest>
void FirstExtreme<largest>::cuda(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  extreme<largest>(name, over, x[0], &y, aux.empty() ? nullptr : &aux[0]);
}
template<bool largest>
void SharedExtreme<largest>::cuda(Inputs x, Tensor& y) const {
  extreme<largest>(name, over, x[0], &y, nullptr);
}
template<bool largest>
void ArgExtreme<largest>::cuda(Inputs x, Tensor& y) const {
  extreme<largest>(name, over, x[0], nullptr, &y);
}
template void Max::cuda(Inputs, Tensor&, std::span<Tensor>) const;
template void Min::cuda(Inputs, Tensor&, std::span<Tensor>) const;
template void AMax::cuda(Inputs, Tensor&) const;
template void AMin::cuda(Inputs, Tensor&) const;
template void ArgMax::cuda(Inputs, Tensor&) const;
template void ArgMin::cuda(Inputs, Tensor&) const;

void LogSumExp::cuda(Inputs x, Tensor& y) const {
  const Axes axes = over.normalized(x[0].shape());
  if (x[0].dtype() == DType::f64)
    reduce(name, reducer::LogSumExp<double>{}, x[0], axes, &y);
  else
    reduce(name, reducer::LogSumExp<float, float>{}, x[0], axes, &y);
}

void Norm::cuda(Inputs x, Tensor& y) const {
  const Axes axes = over.normalized(x[0].shape());
  if (p == 1)
    reduce(name, reducer::Norm<Power::one>{}, x[0], axes, &y);
  else if (p == 2 && x[0].dtype() == DType::f64)
    reduce(name, reducer::WideNorm{}, x[0], axes, &y);
  else if (p == 2)
    reduce(name, reducer::Norm<Power::two>{}, x[0], axes, &y);
  else if (std::isinf(p))
    reduce(name, reducer::MaxNorm{}, x[0], axes, &y);
  else
    reduce(name, reducer::PowerNorm{p}, x[0], axes, &y);
}

}  // namespace bobbin
