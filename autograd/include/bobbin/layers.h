// Layers: plain structs of parameters that are called like functions (module.h). Weights are initialised as
// in PyTorch; init.h has other initialisers. Sizes below 1 throw ValueError.
#pragma once
#include <bobbin/attention.h>
#include <bobbin/conv.h>
#include <bobbin/matmul.h>
#include <bobbin/module.h>
#include <bobbin/norm.h>
#include <bobbin/pool.h>

#include <memory>

namespace bobbin::nn {

/// activation(x W^T + b). W [out, in] and b [out] are drawn uniformly from +-1/sqrt(in).
struct Linear {
  /// Draws the parameters; no bias if `with_bias` is false.
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true, DType = DType::f32);
  /// x [..., in] -> [..., out].
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const {
    return linear(x, weight, bias, activation);
  }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight;  ///< [out, in]
  Tensor bias;    ///< [out]; undefined if left out
};

/// ConvOptions, and whether there is a bias.
struct Conv2dOptions : ConvOptions {
  bool bias = true;  ///< adds one number per channel
};
/// activation(conv2d). W [out, in / groups, kh, kw] and b [out] are drawn uniformly from +-1/sqrt(in / groups
/// kh kw).
struct Conv2d {
  /// Draws the parameters. Throws ValueError unless the number of groups divides the channels.
  Conv2d(std::int64_t in, std::int64_t out, Pair kernel, const Conv2dOptions& = {});
  /// x [n, in, h, w] -> [n, out, oh, ow].
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const {
    return conv2d(x, weight, bias, options, activation);
  }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight;        ///< [out, in / groups, kh, kw]
  Tensor bias;          ///< [out]; undefined if left out
  ConvOptions options;  ///< of each call
};

/// The same for sequences [n, in, length].
struct Conv1d {
  /// Draws the parameters. Throws ValueError unless the number of groups divides the channels.
  Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv2dOptions& = {});
  /// x [n, in, length] -> [n, out, shorter length].
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const {
    return conv1d(x, weight, bias, options, activation);
  }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight;        ///< [out, in / groups, k]
  Tensor bias;          ///< [out]; undefined if left out
  ConvOptions options;  ///< of each call; the .w of each counts
};

/// batch_norm of [n, channels, ...]: uses the statistics of the batch while training, else the running ones.
struct BatchNorm {
  /// Weights and variances are initialised to 1, biases and means to 0. Throws ValueError unless 0 <=
  /// momentum
  /// <= 1 and eps is finite and not negative.
  explicit BatchNorm(std::int64_t channels, double momentum = 0.1, double eps = 1e-5);
  /// x [n, channels, ...], normalised per channel; updates the running statistics while training.
  Tensor operator()(const Tensor& x) const {
    return batch_norm(x, running_mean, running_var, weight, bias, {training, momentum, eps});
  }
  /// Names its parameters, its statistics (buffers) and its mode.
  void each(Visit& v);
  Tensor weight;         ///< [channels]
  Tensor bias;           ///< [channels]
  Tensor running_mean;   ///< [channels]; a buffer
  Tensor running_var;    ///< [channels]; a buffer
  double momentum;       ///< the batch's share in the running statistics
  double eps;            ///< added to the variance
  bool training = true;  ///< set by train and eval
};

/// layer_norm with a weight and a bias.
struct LayerNorm {
  /// Normalises over the last axes, of sizes `over`. Weights are initialised to 1, biases to 0. Throws
  /// ValueError unless eps is finite and not negative.
  explicit LayerNorm(const Shape& over, double eps = 1e-5);
  /// x [..., over], normalised.
  Tensor operator()(const Tensor& x) const { return layer_norm(x, over, weight, bias, eps); }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Shape over;     ///< sizes of the axes normalised
  Tensor weight;  ///< of the shape `over`
  Tensor bias;    ///< of the shape `over`
  double eps;     ///< added to the variance
};

/// rms_norm with a weight.
struct RMSNorm {
  /// Normalises over the last axes, of sizes `over`. Weights are initialised to 1. Throws ValueError unless
  /// eps is finite and not negative.
  explicit RMSNorm(const Shape& over, double eps = 1e-5);
  /// x [..., over], normalised.
  Tensor operator()(const Tensor& x) const { return rms_norm(x, over, weight, eps); }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight); }
  Shape over;     ///< sizes of the axes normalised
  Tensor weight;  ///< of the shape `over`
  double eps;     ///< added to the mean square
};

/// group_norm with a weight and a bias.
struct GroupNorm {
  /// Weights are initialised to 1, biases to 0. Throws ValueError unless the number of groups divides the
  /// channels, and eps is finite and not negative.
  GroupNorm(std::int64_t groups, std::int64_t channels, double eps = 1e-5);
  /// x [n, channels, ...], normalised.
  Tensor operator()(const Tensor& x) const { return group_norm(x, groups, weight, bias, eps); }
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  std::int64_t groups;  ///< of channels
  Tensor weight;        ///< [channels]
  Tensor bias;          ///< [channels]
  double eps;           ///< added to the variance
};

/// Picks rows of a table [count, size] by i64 indices of any shape -> [..., size]. The table is drawn from a
/// normal distribution.
struct Embedding {
  /// Draws the table.
  Embedding(std::int64_t count, std::int64_t size);
  /// The rows of these indices. Throws IndexError.
  Tensor operator()(const Tensor& indices) const;
  /// Names its parameters.
  void each(Visit& v) { v("weight", weight); }
  Tensor weight;  ///< the table, [count, size]
};

/// dropout while training: each element is 0 with probability p, else x / (1 - p).
struct Dropout {
  /// Throws ValueError unless 0 <= p < 1.
  explicit Dropout(double p = 0.5);
  /// dropout(x, p) while training, else x.
  Tensor operator()(const Tensor& x) const;
  /// Names its mode; it has no parameters.
  void each(Visit& v) { v.mode(training); }
  double p;              ///< the probability of a zero
  bool training = true;  ///< set by train and eval
};

/// [n, ...] -> [n, product of the other sizes].
struct Flatten {
  /// x [n, ...] as a matrix, which is a view where strides allow. Throws ShapeError for a scalar.
  Tensor operator()(const Tensor& x) const;
  /// It has no parameters.
  void each(Visit&) {}
};

/// max_pool2d as a layer.
struct MaxPool2d {
  /// Windows of size `size`.
  explicit MaxPool2d(Pair size, const PoolOptions& o = {}) : window(size), options(o) {}
  /// x [n, channels, h, w] -> [n, channels, oh, ow].
  Tensor operator()(const Tensor& x) const { return max_pool2d(x, window, options); }
  /// It has no parameters.
  void each(Visit&) {}
  Pair window;          ///< size of each
  PoolOptions options;  ///< of each call
};

/// Calls modules and functions of one tensor in turn. Copies share their parts.
class Sequential {
 public:
  /// Calls these parts in their order.
  template<class... Parts>
  explicit Sequential(Parts... parts) {
    (add(std::move(parts)), ...);
  }
  /// Appends a part.
  template<class Part>
  void add(Part part) {
    parts_.push_back(std::make_shared<Model<Part>>(std::move(part)));
  }
  /// The result of the last part.
  Tensor operator()(Tensor x) const {
    for (auto& p : parts_) x = p->call(x);
    return x;
  }
  /// Names its modules by their numbers: "0", "1", ...
  void each(Visit& v) {
    for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i]->each(std::to_string(i), v);
  }

 private:
  struct Part {
    virtual ~Part() = default;
    virtual Tensor call(const Tensor&) const = 0;
    virtual void each(const std::string& name, Visit&) = 0;
  };
  template<class T>
  struct Model final : Part {
    explicit Model(T t) : part(std::move(t)) {}
    Tensor call(const Tensor& x) const override { return part(x); }
    void each([[maybe_unused]] const std::string& name, [[maybe_unused]] Visit& v) override {
      if constexpr (Module<T>) v(name, part);
    }
    T part;
  };
  std::vector<std::shared_ptr<Part>> parts_;
};

/// Self-attention with several heads on [n, length, size]: size must be a multiple of heads.
struct MultiheadAttention {
  /// Draws the parameters; `dropout` applies to the attention weights. Throws ValueError unless `heads`
  /// divides `size` and 0 <= dropout < 1.
  MultiheadAttention(std::int64_t size, std::int64_t heads, double dropout = 0);
  /// x [n, length, size] -> the same shape. With `causal`, no position attends to later ones.
  Tensor operator()(const Tensor& x, bool causal = false) const;
  /// Names its parameters ("in_proj", "out_proj") and its mode.
  void each(Visit& v) { v("in_proj", in), v("out_proj", out), v.mode(training); }
  Linear in;             ///< queries, keys and values from x: size to 3 size
  Linear out;            ///< the result from all heads: size to size
  std::int64_t heads;    ///< the number of heads, each of size / heads
  double dropout;        ///< of the attention weights, while training
  bool training = true;  ///< set by train and eval
};

/// x + attention(norm(x)), then x + mlp(norm(x)), where the mlp is 4 times as wide: [n, length, size].
struct TransformerBlock {
  /// Draws the parameters; `dropout` applies to the attention weights and to both terms that are added to x.
  /// Throws as MultiheadAttention does.
  TransformerBlock(std::int64_t size, std::int64_t heads, double dropout = 0);
  /// x [n, length, size] -> the same shape. With `causal`, no position attends to later ones.
  Tensor operator()(const Tensor& x, bool causal = false) const;
  /// Names its parts.
  void each(Visit& v) {
    v("norm1", norm1), v("attention", attention), v("norm2", norm2), v("up", up), v("down", down),
        v("dropout", drop);
  }
  LayerNorm norm1;               ///< before the attention
  MultiheadAttention attention;  ///< of x with itself
  LayerNorm norm2;               ///< before the mlp
  Linear up;                     ///< the mlp's first layer, size to 4 size; then gelu
  Linear down;                   ///< the mlp's second layer, 4 size to size
  Dropout drop;                  ///< of both terms that are added to x
};

}  // namespace bobbin::nn
