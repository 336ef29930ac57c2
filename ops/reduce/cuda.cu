// Reductions on a GPU: which reducer each operation uses.
#include "ops/reduce/launch.cuh"
#include "ops/reduce/reduce.h"

namespace bobbin {
namespace {

using reducer::Power;
using reduction::reduce;

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

}  // namespace

void Sum::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, false, over, x[0], y); }
void Mean::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, true, over, x[0], y); }
void Var::cuda(Inputs x, Tensor& y) const {
  reduce(name, reducer::Variance{correction, false}, x[0], over.normalized(x[0].shape()), &y);
}
void Std::cuda(Inputs x, Tensor& y) const {
  reduce(name, reducer::Variance{correction, true}, x[0], over.normalized(x[0].shape()), &y);
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
  else if (p == 2)
    reduce(name, reducer::Norm<Power::two>{}, x[0], axes, &y);
  else if (std::isinf(p))
    reduce(name, reducer::MaxNorm{}, x[0], axes, &y);
  else
    reduce(name, reducer::Norm<Power::any>{{}, p}, x[0], axes, &y);
}

}  // namespace bobbin
