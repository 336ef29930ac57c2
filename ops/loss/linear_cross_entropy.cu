// linear_cross_entropy on a GPU: for each block of rows a product that gives the logits in the type that
// kernels compute in, a kernel that puts their gradient in their place, and the products of the gradient.
// That of the weight is added to the sums of the blocks before. The host reads nothing back.
#include <bobbin/matmul.h>
#include <bobbin/view.h>

#include <algorithm>
#include <bit>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/loss/cross_entropy_logits.cuh"
#include "ops/loss/cross_entropy_sums.cuh"
#include "ops/loss/linear_cross_entropy.h"
#include "ops/matmul/blas.h"

namespace bobbin {
namespace {

constexpr const char* op_name = "linear_cross_entropy";

using cuda::CrossEntropyCall, cuda::TargetKind;

constexpr std::int64_t least_divided = 256;  // classes

// The kernel's threads: few for short rows.
int threads_for(std::int64_t classes) {
  const auto wanted = static_cast<std::uint64_t>(ceil_div(classes, std::int64_t{cuda::logit_step}));
  return static_cast<int>(std::clamp<std::uint64_t>(std::bit_ceil(wanted), 32, cuda::logit_threads));
}

template<class T>
class Head {
  using C = cuda::Compute<T>;

 public:
  explicit Head(const LinearCrossEntropyCall& call)
      : call_(call),
        device_(call.x.device()),
        rows_(call.rows()),
        classes_(call.classes()),
        in_(call.in()),
        pitch_(ceil_div(classes_, std::int64_t{64}) * 64),
        class_weight_(row_major(call.class_weight, dtype_of<C>())),
        indexed_(call.target.dtype() == DType::i64) {
    const CrossEntropyTerms& terms = call.terms;
    const bool mean = terms.reduction == Reduction::mean;
    terms_ = {.x = nullptr,
              .index = indexed_ ? call.target.raw<std::int64_t>() : nullptr,
              .probabilities = nullptr,
              .weight = class_weight_.raw<C>(),
              .cotangent = call.cotangents.raw<C>(),
              .row_cotangents = true,
              .losses = nullptr,
              .losses_to_sum = nullptr,
              .rows = rows_,
              .classes = classes_,
              .inner = 1,
              .ignore_index = terms.ignore_index,
              .confidence = static_cast<C>(1 - terms.smoothing),
              .smoothing = static_cast<C>(terms.smoothing / static_cast<double>(classes_)),
              .divisor = {}};
    if (mean && !indexed_)
      terms_.divisor = {.value = static_cast<double>(rows_), .reciprocal = 1 / static_cast<double>(rows_)};
    // Gradients of the logits of a mean would be small for f16: they are stored times a power of two near the
    // number of rows.
    if (is_16bit_float<T> && classes_ >= least_divided) {
      rest_ = classes_ % cuda::logit_step;
      if (rest_ > 0) {
        tail_ = zeros({cuda::logit_step, in_}, dtype_of<T>(), device_);
        copy_elements(slice(call.weight, 0, whole(), classes_), slice(tail_, 0, 0, rest_));
      }
    }
    if (is_16bit_float<T> && mean) up_ = std::bit_floor(std::min<std::uint64_t>(rows_, 1 << 14));
  }

  void run() {
    const bool none = call_.terms.reduction == Reduction::none,
               mean = call_.terms.reduction == Reduction::mean;
    const cuda::SumParts parts(device_, rows_);
    Tensor losses, counted;
    if (call_.loss) {
      losses =
          none && call_.loss.dtype() == dtype_of<C>() ? call_.loss : empty({rows_}, dtype_of<C>(), device_);
      terms_.losses = losses.raw<C>();
    }
    if (mean && indexed_) {
      counted = empty({2}, DType::f64, device_);
      terms_.divisor.counted = counted.raw<double>();
    }
    if (indexed_) {
      const cuda::FaultReporter report = cuda::fault_reporter(device_, op_name, "class", classes_);
      if (class_weight_)
        cuda::launch_sum(op_name, device_, rows_, cuda::DivisorSum<C, true>{terms_, report}, parts);
      else
        cuda::launch_sum(op_name, device_, rows_, cuda::DivisorSum<C, false>{terms_, report}, parts);
    }
    {
      const std::int64_t block = std::min(call_.block, rows_);
      logits_ = empty({block, pitch_}, dtype_of<C>(), device_);
      for (std::int64_t first = 0; first < rows_; first += block)
        run_block(first, std::min(block, rows_ - first));
      logits_ = {};
    }
    if (!call_.loss) return;
    if (none) {
      if (losses.dtype() != call_.loss.dtype()) copy_elements(losses, call_.loss);
    } else if (call_.loss.dtype() == dtype_of<T>()) {
      sum_losses<T>(losses, parts);
    } else {
      sum_losses<C>(losses, parts);  // Autocast
    }
  }

 private:
  void run_block(std::int64_t first, std::int64_t count) {
    const bool differentiates = call_.x_grad || call_.weight_grad;
    const T* const x = call_.x.raw<T>() + first * in_;
    if (in_ > 0)
      compute_logits(x, count);
    else
      cuda::fill_elements(logits_, 0);

    CrossEntropyCall<C> block = terms_;
    Tensor probabilities;
    block.x = logits_.raw<C>();
    block.rows = count;
    if (indexed_) {
      block.index += first;
    } else {
      probabilities = row_major(
          call_.target.alias({count, classes_}, {classes_, 1}, call_.target.offset() + first * classes_),
          dtype_of<C>());
      block.probabilities = probabilities.raw<C>();
    }
    if (block.cotangent) block.cotangent += first;
    if (block.losses) block.losses += first;
    const bool dense = !indexed_ || call_.terms.smoothing != 0;
    const cuda::Launch launch = launch_of(count);
    const cuda::LogitRows rows{pitch_, static_cast<int>(launch.shared / cuda::step_bytes(launch.block.x))};
    cuda::launch(op_name, launch,
                 dense ? cuda::logits_to_gradient<T, C, TargetKind::dense>
                       : cuda::logits_to_gradient<T, C, TargetKind::index>,
                 block, rows, differentiates, static_cast<C>(up_));
    if (in_ == 0) return;
    if (call_.x_grad) add_x_grad(call_.x_grad.raw<C>() + first * in_, count);
    if (call_.weight_grad) add_weight_grad(x, count, first > 0);
  }

  // A product of 16-bit factors is several times as slow where a size is no multiple of 8. The classes are
  // therefore divided: as many as are a multiple of 8, and the rest, whose weights stand in tail_ beside
  // zeros.
  std::int64_t whole() const { return classes_ - rest_; }

  void compute_logits(const T* x, std::int64_t count) {
    cuda::Gemm p{.rows = count,
                 .cols = whole(),
                 .inner = in_,
                 .a = {x, in_},
                 .b = {call_.weight.raw(), in_, true},
                 .y = logits_.raw(),
                 .y_stride = pitch_,
                 .dtype = dtype_of<T>(),
                 .y_dtype = dtype_of<C>()};
    multiply(p);
    if (rest_ == 0) return;
    p.cols = cuda::logit_step;
    p.b.data = tail_.raw();
    p.y = logits_.raw<C>() + whole();
    multiply(p);
  }

  // The gradient of the logits lies where they were.
  cuda::Operand gradient(std::int64_t first_class, bool transposed) const {
    return {logits_.raw<T>() + first_class, pitch_ * static_cast<std::int64_t>(sizeof(C) / sizeof(T)),
            transposed};
  }

  void add_x_grad(C* to, std::int64_t count) {
    cuda::Gemm p{.rows = count,
                 .cols = in_,
                 .inner = whole(),
                 .a = gradient(0, false),
                 .b = {call_.weight.raw(), in_},
                 .y = to,
                 .y_stride = in_,
                 .dtype = dtype_of<T>(),
                 .y_dtype = dtype_of<C>(),
                 .scale = 1 / static_cast<double>(up_)};
    multiply(p);
    if (rest_ == 0) return;
    p.inner = cuda::logit_step;
    p.a = gradient(whole(), false);
    p.b.data = tail_.raw();
    p.accumulates = true;
    multiply(p);
  }

  void add_weight_grad(const T* x, std::int64_t count, bool accumulates) {
    cuda::Gemm p{.rows = whole(),
                 .cols = in_,
                 .inner = count,
                 .a = gradient(0, true),
                 .b = {x, in_},
                 .y = call_.weight_grad.raw(),
                 .y_stride = in_,
                 .dtype = dtype_of<T>(),
                 .y_dtype = dtype_of<C>(),
                 .scale = 1 / static_cast<double>(up_),
                 .accumulates = accumulates};
    multiply(p);
    if (rest_ == 0) return;
    p.rows = rest_;
    p.a = gradient(whole(), true);
    p.y = call_.weight_grad.raw<C>() + whole() * in_;
    multiply(p);
  }

  void multiply(cuda::Gemm p) {
    p.tf32 = tf32_allowed();
    cuda::multiply(op_name, device_, p);
  }

  // As much of a row as leaves room for another block stays in shared memory between the two passes.
  cuda::Launch launch_of(std::int64_t rows) const {
    const int threads = threads_for(classes_);
    const auto step = static_cast<std::int64_t>(cuda::step_bytes(threads)),
               room = cuda::properties(device_).shared_per_sm / 2 - (4 << 10);
    const std::int64_t steps =
        std::min(room / step, ceil_div(classes_ * static_cast<std::int64_t>(sizeof(C)), step));
    return {.device = device_,
            .grid = static_cast<unsigned>(rows),
            .block = static_cast<unsigned>(threads),
            .shared = static_cast<std::size_t>(steps * step),
            .early = true};
  }

  template<class L>
  void sum_losses(const Tensor& losses, const cuda::SumParts& parts) {
    cuda::launch_sum(op_name, device_, rows_,
                     cuda::LossSum<L>{losses.raw<C>(), terms_.divisor, call_.loss.raw<L>()}, parts);
  }

  const LinearCrossEntropyCall& call_;
  const Device device_;
  const std::int64_t rows_, classes_, in_, pitch_;
  const Tensor class_weight_;
  const bool indexed_;
  CrossEntropyCall<C> terms_;
  std::uint64_t up_ = 1;
  std::int64_t rest_ = 0;
  Tensor tail_;
  Tensor logits_;
};

}  // namespace

void cuda::linear_cross_entropy(const LinearCrossEntropyCall& call) {
  if (call.rows() == 0 || call.classes() == 0) {
    if (call.weight_grad) cuda::fill_elements(call.weight_grad, 0);
    const bool mean = call.terms.reduction == Reduction::mean;
    if (call.loss && call.loss.numel() > 0)
      cuda::fill_elements(call.loss, mean ? std::numeric_limits<double>::quiet_NaN() : 0);
    return;
  }
  if (call.classes() >= (std::int64_t{1} << 32) - 64)
    fail<ShapeError>(op_name, ": too many classes; got ", call.weight.spec());
  visit_floating(call.x.dtype(), [&]<class T>(Type<T>) { Head<T>(call).run(); });
}

}  // namespace bobbin
