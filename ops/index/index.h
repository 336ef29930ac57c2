// Picking and adding by index. Every index is checked before anything is written, and what falls on one
// element is added in the order of the index, whatever the number of threads. Reading operations move bytes
// and take every dtype; adding ones take numbers, and sums of 16-bit types are kept in f32 and rounded once.
#pragma once
#include <bobbin/ops.h>

namespace bobbin {

/// (x, index [n]): slices index[0], index[1], ... of an axis.
struct IndexSelect {
  int axis;
  static constexpr std::string_view name = "index_select";
  // A batch from a strided data set does not copy the whole set.
  static constexpr Strided strided{.cpu = Strided::input(0), .cuda = Strided::all.cuda};
  static constexpr Saves saves = Saves::input(1);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// (x, index [n], source): x with slice i of source added to slice index[i]. IndexSelect's transpose.
struct IndexAdd {
  int axis;
  static constexpr std::string_view name = "index_add";
  static constexpr Strided strided{.cpu = Strided::input(0), .cuda = Strided::input(0) | Strided::input(1)};
  static constexpr Saves saves(Needs needs) { return needs[2] ? Saves::input(1) : Saves::none; }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// (x, index): each element of the index replaced by the one it names on an axis of x.
struct Gather {
  int axis;
  static constexpr std::string_view name = "gather";
  static constexpr Strided strided{.cpu = Strided::input(0), .cuda = Strided::all.cuda};
  static constexpr Saves saves = Saves::input(1);
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

/// (x, index, source): x with each element of source added where gather would read. Gather's transpose.
struct ScatterAdd {
  int axis;
  static constexpr std::string_view name = "scatter_add";
  static constexpr Strided strided{.cpu = Strided::input(0), .cuda = Strided::input(0) | Strided::input(1)};
  static constexpr Saves saves(Needs needs) { return needs[2] ? Saves::input(1) : Saves::none; }
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  Grads vjp(const Vjp&) const;
  static std::vector<Sample> samples();
};

struct OneHot {
  std::int64_t classes;
  DType dtype;
  static constexpr std::string_view name = "one_hot";
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs) const;
  void cpu(Inputs, Tensor&) const;
  void cuda(Inputs, Tensor&) const;
  static std::vector<Sample> samples();
};

}  // namespace bobbin
