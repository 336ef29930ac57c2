// Records an operation under Autocast (bobbin/autocast.h).
#pragma once
#include <bobbin/autocast.h>
#include <bobbin/elementwise.h>
#include <bobbin/op.h>

#include <algorithm>

namespace bobbin {

/// record(op, inputs). While an Autocast lives and all inputs are f32, op runs on factors (the first two
/// inputs) that are rounded to its dtype; `wide` lets it return the f32 sums, to which it adds the f32 bias.
template<Operator T>
Tensor record_autocast(T op, std::initializer_list<Tensor> inputs) {
  const DType narrow = autocast_dtype();
  if (narrow == DType::f32 ||
      std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x && x.dtype() != DType::f32; }))
    return record(std::move(op), inputs);
  std::vector<Tensor> rounded(inputs);
  for (std::size_t i = 0; i < 2; ++i) rounded[i] = to(rounded[i], narrow);
  op.wide = true;
  return record(std::move(op), Inputs(rounded));
}

}  // namespace bobbin
