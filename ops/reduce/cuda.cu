// Reductions on a GPU: which fold each operation is.
#include "ops/reduce/launch.cuh"
#include "ops/reduce/reduce.h"

namespace bobbin {
namespace {

using fold::Power;
using reduction::reduce;

void sum_or_mean(std::string_view op, bool mean, const Over& over, const Tensor& x, const Tensor& y) {
  const Axes axes = over.of(x.shape());
  if (is_floating(x.dtype()))
    reduce(op, fold::Sum<double, double>{{}, mean}, x, axes, &y);
  else
    reduce(op, fold::Sum<std::int64_t, std::int64_t>{}, x, axes, &y);
}

template<bool largest>
void extreme(std::string_view op, const Over& over, const Tensor& x, const Tensor* y, const Tensor* index) {
  const Axes axes = over.of(x.shape());
  if (x.dtype() == DType::f64)
    reduce(op, fold::Extreme<double, largest>{}, x, axes, y, index);
  else if (is_floating(x.dtype()))
    reduce(op, fold::Extreme<float, largest>{}, x, axes, y, index);
  else
    reduce(op, fold::Extreme<std::int64_t, largest>{}, x, axes, y, index);
}

}  // namespace

void Sum::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, false, over, x[0], y); }
void Mean::cuda(Inputs x, Tensor& y) const { sum_or_mean(name, true, over, x[0], y); }
void Var::cuda(Inputs x, Tensor& y) const {
  reduce(name, fold::Variance{correction, false}, x[0], over.of(x[0].shape()), &y);
}
void Std::cuda(Inputs x, Tensor& y) const {
  reduce(name, fold::Variance{correction, true}, x[0], over.of(x[0].shape()), &y);
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
  const Axes axes = over.of(x[0].shape());
  if (x[0].dtype() == DType::f64)
    reduce(name, fold::LogSumExp<double>{}, x[0], axes, &y);
  else
    reduce(name, fold::LogSumExp<float, float>{}, x[0], axes, &y);
}

void Norm::cuda(Inputs x, Tensor& y) const {
  const Axes axes = over.of(x[0].shape());
  if (p == 1)
    reduce(name, fold::Norm<Power::one>{}, x[0], axes, &y);
  else if (p == 2)
    reduce(name, fold::Norm<Power::two>{}, x[0], axes, &y);
  else if (std::isinf(p))
    reduce(name, fold::MaxNorm{}, x[0], axes, &y);
  else
    reduce(name, fold::Norm<Power::any>{{}, p}, x[0], axes, &y);
}

}  // namespace bobbin
