// linear_cross_entropy on the CPU: for each block of rows the logits, their losses and gradient by the
// kernels of cross_entropy, and the products of the gradient, of which that of the weight is added to those
// before.
#include <bobbin/view.h>

#include <algorithm>
#include <array>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/cpu/gemm.h"
#include "ops/loss/cross_entropy_targets.h"
#include "ops/loss/linear_cross_entropy.h"

namespace bobbin {
namespace {

template<class T>
void run(const LinearCrossEntropyCall& call) {
  const std::int64_t rows = call.rows(), classes = call.classes(), in = call.in(),
                     block = std::min(call.block, rows);
  const DType type = dtype_of<T>();
  const RowTargets targets(call.terms, rows, classes, call.target, call.class_weight);
  targets.check(LinearCrossEntropy::name);
  const Tensor x = row_major(call.x, type), weight = row_major(call.weight, type);
  const bool mean = call.terms.reduction == Reduction::mean, differentiates = call.x_grad || call.weight_grad;
  if (Tensor sums = call.weight_grad) sums.fill_(0);

  CrossEntropyTerms by_row = call.terms;
  by_row.reduction = Reduction::none;
  const Tensor losses = empty({call.loss ? rows : 0}, DType::f64);
  const Tensor logits = empty({block, classes}, type),
               grads = empty({differentiates ? block : 0, classes}, type);
  Tensor cotangents = call.cotangents;
  if (!cotangents && differentiates) cotangents = full({rows}, mean ? 1 / targets.divisor() : 1, DType::f64);
  for (std::int64_t first = 0; first < rows; first += block) {
    const std::int64_t end = std::min(rows, first + block), count = end - first;
    const auto part = [&](const Tensor& t) { return slice(t, 0, first, end); };
    Tensor z = slice(logits, 0, 0, count);
    const T* const from = x.raw<T>() + first * in;
    gemm<T>({from, count, in, in}, {weight.raw<T>(), in, classes, in, true}, z.raw<T>());
    std::array<Tensor, 4> inputs{z, part(call.target), call.class_weight, {}};
    if (inputs[1].dtype() != DType::i64) inputs[1] = row_major(inputs[1], type);
    if (call.loss) {
      Tensor out = part(losses);
      CrossEntropy{by_row}.cpu(Inputs(inputs).first(3), out, {});
    }
    if (!differentiates) continue;
    inputs[3] = part(cotangents);
    Tensor dz = slice(grads, 0, 0, count);
    CrossEntropyBackward{by_row}.cpu(inputs, dz);
    const T* const g = dz.raw<T>();
    if (call.x_grad)
      gemm<T>({g, count, classes, classes}, {weight.raw<T>(), classes, in, in},
              call.x_grad.raw<T>() + first * in);
    if (call.weight_grad)
      add_gemm<T>({g, classes, count, classes, true}, {from, count, in, in}, call.weight_grad.raw<T>());
  }

  if (!call.loss) return;
  Tensor loss = call.loss;
  if (call.terms.reduction == Reduction::none) {
    loss.copy_(losses);
    return;
  }
  const double* const of_row = losses.raw<double>();
  const double total = rows::sum<double>(rows, [=](std::int64_t i) { return of_row[i]; });
  loss.fill_(mean ? total / targets.divisor() : total);
}

}  // namespace

void cpu_linear_cross_entropy(const LinearCrossEntropyCall& call) {
  compute_type(call.x.dtype()) == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace bobbin
