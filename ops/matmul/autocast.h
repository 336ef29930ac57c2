// Records an operation under Autocast (bobbin/autocast.h).
#pragma once
#include <bobbin/autocast.h>
#include <bobbin/elementwise.h>
#include <bobbin/op.h>

#include <algorithm>

namespace bobbin {

/// record(op, inputs). While an Autocast lives and all inputs are f32, op runs on inputs rounded to its
/// dtype, and the result is f32 again.
template<Operator T>
Tensor record_autocast(T op, std::initializer_list<Tensor> inputs) {
  const DType narrow = autocast_dtype();
  if (narrow == DType::f32 ||
      std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x && x.dtype() != DType::f32; }))
    return record(std::move(op), inputs);
  std::vector<Tensor> rounded;
  for (const Tensor& x : inputs) rounded.push_back(x ? to(x, narrow) : x);
  return to(record(std::move(op), Inputs(rounded)), DType::f32);
}

}  // namespace bobbin
