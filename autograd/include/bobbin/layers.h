// Layers: plain structs of parameters that are called like functions (module.h). Weights begin as PyTorch's
// do; init.h has other ways. Sizes below 1 throw ValueError.
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
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true, DType = DType::f32);
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const {
    return linear(x, weight, bias, activation);
  }
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight, bias;  ///< bias is undefined if left out
};

struct Conv2dOptions : ConvOptions {
  bool bias = true;
};
/// conv2d. W [out, in / groups, kh, kw] and b [out] are drawn uniformly from +-1/sqrt(in / groups kh kw).
struct Conv2d {
  Conv2d(std::int64_t in, std::int64_t out, Pair kernel, const Conv2dOptions& = {});
  Tensor operator()(const Tensor& x) const { return conv2d(x, weight, bias, options); }
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight, bias;
  ConvOptions options;
};

/// The same over sequences [n, in, length].
struct Conv1d {
  Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv2dOptions& = {});
  Tensor operator()(const Tensor& x) const { return conv1d(x, weight, bias, options); }
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Tensor weight, bias;
  ConvOptions options;
};

/// batch_norm of [n, channels, ...]: by the batch while training, by the running statistics otherwise.
struct BatchNorm {
  explicit BatchNorm(std::int64_t channels, double momentum = 0.1, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const {
    return batch_norm(x, running_mean, running_var, weight, bias, {training, momentum, eps});
  }
  void each(Visit& v);
  Tensor weight, bias, running_mean, running_var;
  double momentum, eps;
  bool training = true;
};

struct LayerNorm {
  explicit LayerNorm(const Shape& over, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const { return layer_norm(x, over, weight, bias, eps); }
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  Shape over;
  Tensor weight, bias;
  double eps;
};

struct RMSNorm {
  explicit RMSNorm(const Shape& over, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const { return rms_norm(x, over, weight, eps); }
  void each(Visit& v) { v("weight", weight); }
  Shape over;
  Tensor weight;
  double eps;
};

struct GroupNorm {
  GroupNorm(std::int64_t groups, std::int64_t channels, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const { return group_norm(x, groups, weight, bias, eps); }
  void each(Visit& v) { v("weight", weight), v("bias", bias); }
  std::int64_t groups;
  Tensor weight, bias;
  double eps;
};

/// Rows of a table [count, size], drawn from a normal distribution, by i64 indices of any shape -> [...,
/// size].
struct Embedding {
  Embedding(std::int64_t count, std::int64_t size);
  Tensor operator()(const Tensor& indices) const;
  void each(Visit& v) { v("weight", weight); }
  Tensor weight;
};

/// Zeros with probability p and scales the rest up, while training.
struct Dropout {
  explicit Dropout(double p = 0.5);
  Tensor operator()(const Tensor& x) const;
  void each(Visit& v) { v.mode(training); }
  double p;
  bool training = true;
};

/// [n, ...] -> [n, all the rest].
struct Flatten {
  Tensor operator()(const Tensor& x) const;
  void each(Visit&) {}
};

struct MaxPool2d {
  explicit MaxPool2d(Pair size, const PoolOptions& o = {}) : window(size), options(o) {}
  Tensor operator()(const Tensor& x) const { return max_pool2d(x, window, options); }
  void each(Visit&) {}
  Pair window;
  PoolOptions options;
};

/// Modules and functions of one tensor, one after the other. Copies share their parts.
class Sequential {
 public:
  template<class... Parts>
  explicit Sequential(Parts... parts) {
    (add(std::move(parts)), ...);
  }
  template<class Part>
  void add(Part part) {
    parts_.push_back(std::make_shared<Model<Part>>(std::move(part)));
  }
  Tensor operator()(Tensor x) const {
    for (auto& p : parts_) x = p->call(x);
    return x;
  }
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

/// Attention by several heads of [n, length, size]: size must be a multiple of heads.
struct MultiheadAttention {
  MultiheadAttention(std::int64_t size, std::int64_t heads, double dropout = 0);
  Tensor operator()(const Tensor& x, bool causal = false) const;
  void each(Visit& v) { v("in_proj", in), v("out_proj", out), v.mode(training); }
  Linear in, out;
  std::int64_t heads;
  double dropout;
  bool training = true;
};

/// x + attention(norm(x)), then x + mlp(norm(x)), where the mlp is 4 times as wide: [n, length, size].
struct TransformerBlock {
  TransformerBlock(std::int64_t size, std::int64_t heads, double dropout = 0);
  Tensor operator()(const Tensor& x, bool causal = false) const;
  void each(Visit& v) {
    v("norm1", norm1), v("attention", attention), v("norm2", norm2), v("up", up), v("down", down),
        v("dropout", drop);
  }
  LayerNorm norm1;
  MultiheadAttention attention;
  LayerNorm norm2;
  Linear up, down;
  Dropout drop;
};

}  // namespace bobbin::nn
