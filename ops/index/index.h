// Picking and adding by index. On the CPU every index is checked before anything is written. Terms of one
// element are added in the order of the index, for any number of threads. Operations that pick take every
// dtype; those that add take numbers, sum 16-bit types in f32 and round once.
#pragma once
#include <bobbin/index.h>
#include <bobbin/op.h>

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

/// (x, index [n], source): x with slice i of source added to slice index[i]. The adjoint of index_select.
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

/// (x, index, source): x with each element of source added where gather would read. The adjoint of gather.
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

/// 1 at index i of a new last axis of `classes` elements, for each element i of the input; else 0.
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
