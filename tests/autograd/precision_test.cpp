// Narrow types against f64, operation by operation, and that a result that is slightly too inexact is found.
#include "autograd/gradcheck/precision/precision.h"

#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <set>

using namespace bobbin;
using namespace bobbin::gradcheck_detail;

namespace {

PrecisionReport check(const std::function<Tensor(Inputs)>& f, std::vector<Tensor> x, DType d = DType::f32) {
  return check_precision({"", std::move(x), f}, true, d, Device::cpu());
}

TEST(Precision, EveryOperationIsWithinItsBound) {
  std::set<std::string_view> unseen;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (auto& op : all_ops()) {
      if (!op.samples) continue;  // registered by another test
      manual_seed(51);
      std::int64_t runs = 0;
      for (auto& sample : op.samples()) {
        if (!sample.throws.empty()) continue;
        const auto report = check_precision(sample, op.differentiable && sample.differentiable, dtype, {});
        runs += report.runs;
        for (auto& e : report.failed)
          ADD_FAILURE() << name(dtype) << ' ' << e.op << (e.derivative ? "'s derivative" : "") << " in "
                        << op.name << " (" << sample.note << ") [" << e.index << "]: " << e.got << ", not "
                        << e.want;
      }
      if (runs == 0) unseen.insert(op.name);
    }
  EXPECT_EQ(unseen, (std::set<std::string_view>{"one_hot"}));  // has no floating-point input
}

// A product of factors rounded to TF32's 10 bits, as tensor cores would have it.
struct Tf32Product {
  static constexpr std::string_view name = "matmul";
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs x) const { return {{x[0].size(0), x[1].size(1)}, x[0].dtype(), {}}; }
  static Tensor rounded(const Tensor& x) {
    if (x.dtype() != DType::f32) return x;
    auto v = x.to_vector<float>();
    for (float& f : v) f = std::bit_cast<float>((std::bit_cast<std::uint32_t>(f) + 0x1000) & 0xffffe000u);
    return from_range(v, x.shape());
  }
  void cpu(Inputs x, Tensor& y) const { y.copy_(matmul(rounded(x[0]), rounded(x[1]))); }
};

TEST(Precision, FindsAccidentalTf32) {
  const std::vector<Tensor> x{randn({8, 64}, DType::f64), randn({64, 8}, DType::f64)};
  EXPECT_TRUE(check([](Inputs in) { return matmul(in[0], in[1]); }, x).failed.empty());
  const auto report = check([](Inputs in) { return record(Tf32Product{}, in); }, x);
  EXPECT_GT(report.failed.size(), 32u);
  for (auto& e : report.failed) EXPECT_EQ(e.op, "matmul");
}

// Right in f64; the value or the derivative too large by a part in f32.
struct Off {
  float value = 1, slope = 1;
  static constexpr std::string_view name = "test.off";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  static double by(float factor, DType d) { return d == DType::f32 ? factor : 1; }
  void cpu(Inputs x, Tensor& y) const { y.copy_(square(x[0]) * by(value, y.dtype())); }
  Grads vjp(const Vjp& v) const { return {v.grad * v.input(0) * (2 * by(slope, v.grad.dtype()))}; }
};
PrecisionReport off(Off by) {
  return check([by](Inputs x) { return record(by, x); }, {uniform({50}, 0.5, 2, DType::f64)});
}

TEST(Precision, FindsAResultOf8UnitsAndADerivativeOf100TooMany) {
  EXPECT_TRUE(off({}).failed.empty());
  const auto value = off({1 + 0x8p-23f, 1}), slope = off({1, 1 + 0x64p-23f});
  EXPECT_GT(value.failed.size(), 25u);
  EXPECT_GT(slope.failed.size(), 25u);
  for (auto& e : value.failed) EXPECT_FALSE(e.derivative);
  for (auto& e : slope.failed) EXPECT_TRUE(e.derivative);
  EXPECT_FALSE(off({std::numeric_limits<float>::quiet_NaN(), 1}).failed.empty());
  EXPECT_FALSE(off({1, std::numeric_limits<float>::infinity()}).failed.empty());
}

TEST(Precision, SaysWhyNothingWasCompared) {
  const Tensor own = randn({3}, DType::f64);
  const auto report = check([&](Inputs x) { return x[0] + own; }, {randn({3}, DType::f64)});
  EXPECT_EQ(report.runs, 0);
  EXPECT_EQ(report.skipped, "add: dtypes must agree; got f32[3] and f64[3]; convert one with to(x, DType)");
}

}  // namespace
