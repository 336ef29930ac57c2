// Normalisation of rows: the operations that layer_norm, rms_norm and group_norm record. One kernel reads the
// elements once, forward, and one in the first derivative. Higher derivatives are made of public operations.
#pragma once
#include <bobbin/norm.h>
#include <bobbin/op.h>

namespace bobbin {

/// Which elements of a row-major x are a row, and which weight each one has.
struct RowNormLayout {
  std::int64_t length;      ///< elements of a row
  std::int64_t groups = 1;  ///< rows r and r + groups have the same weights
  std::int64_t repeat = 1;  ///< neighbouring elements of a row that share a weight

  std::int64_t rows(const Tensor& x) const { return length > 0 ? x.numel() / length : 0; }
};

enum class RowNormKind { layer, rms, group };

/// Inputs: x, and optional weight and bias (rms_norm: weight alone), of groups * length / repeat elements.
template<RowNormKind kind>
struct RowNorm {
  RowNormLayout layout;
  double eps;
  static constexpr bool centred = kind != RowNormKind::rms;  ///< whether the mean is subtracted
  static constexpr std::string_view name = kind == RowNormKind::layer ? "layer_norm"
                                           : kind == RowNormKind::rms ? "rms_norm"
                                                                      : "group_norm";
  static constexpr Saves saves = Saves::input(0) | Saves::input(1);
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  /// RowStatistics of each row: [rows, 4], f32 or f64.
  std::vector<TensorSpec> aux(Inputs) const;
  void cpu(Inputs, Tensor& out, std::span<Tensor> aux) const;
  void cuda(Inputs, Tensor& out, std::span<Tensor> aux) const;
  Grads vjp(const Vjp&) const;
  std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
  std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
  static std::vector<Sample> samples();
};
using LayerNorm = RowNorm<RowNormKind::layer>;
using RmsNorm = RowNorm<RowNormKind::rms>;
using GroupNorm = RowNorm<RowNormKind::group>;
template<>
std::vector<Sample> LayerNorm::samples();
template<>
std::vector<Sample> RmsNorm::samples();
template<>
std::vector<Sample> GroupNorm::samples();

/// The operands of the kernels, whatever the kind. x, weight, bias and g are row-major, of one dtype.
struct RowNormCall {
  std::string_view name;
  RowNormLayout layout;
  double eps;
  bool centred;
  Tensor x = {}, weight = {}, bias = {};  ///< weight and bias may be undefined
  Tensor y = {};                          ///< forward: the result
  Tensor statistics = {};                 ///< as `aux`; forward: undefined if nothing is recorded
  Tensor g = {};                          ///< backward: the cotangent of the result
  /// Backward: the results, of x's dtype; undefined ones are not computed. The last two only where groups
  /// and repeat are 1.
  Tensor x_grad = {}, weight_grad = {}, bias_grad = {};

  std::int64_t rows() const { return layout.rows(x); }
};
void cpu_row_norm(const RowNormCall&);
void cpu_row_norm_backward(const RowNormCall&);
namespace cuda {
void row_norm(const RowNormCall&);
void row_norm_backward(const RowNormCall&);
}  // namespace cuda

}  // namespace bobbin
