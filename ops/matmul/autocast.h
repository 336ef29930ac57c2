// Records an operation under Autocast (bobbin/autocast.h).
#pragma once
#include <bobbin/autocast.h>
#include <bobbin/elementwise.h>
#include <bobbin/op.h>

#include <algorithm>

namespace bobbin {

/// record(op, inputs) of a product: two factors and an optional bias. While an Autocast lives, and all inputs
/// are f32 or of its dtype, op runs on factors that are rounded to that. `wide` lets it return the f32 sums,
/// to which it adds the f32 bias.
template<Operator T>
Tensor record_autocast(T op, std::initializer_list<Tensor> inputs) {
  const DType narrow = autocast_dtype();
  const auto all = [&](auto f) { return std::all_of(inputs.begin(), inputs.end(), f); };
  if (narrow == DType::f32 || all([&](const Tensor& x) { return !x || x.dtype() == narrow; }) ||
      !all([&](const Tensor& x) { return !x || x.dtype() == narrow || x.dtype() == DType::f32; }))
    return record(std::move(op), inputs);
  std::vector<Tensor> rounded(inputs);
  op.wide = autocast_results() == ProductResults::f32;
  for (std::size_t i = 0; i < rounded.size(); ++i)
    if (rounded[i]) rounded[i] = to(rounded[i], i < 2 || !op.wide ? narrow : DType::f32);
  return record(std::move(op), Inputs(rounded));
}

}  // namespace bobbin
