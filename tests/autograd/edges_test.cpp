// The checks at the edges of dtypes: they find what they are for, and every exception is needed.
#include "autograd/gradcheck/edges/edges.h"

#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/precision/precision.h"

using namespace bobbin;
using namespace bobbin::gradcheck_detail;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

// a / b. The derivative for b is -(g / b) (a / b), or, with the same result where nothing overflows, -g a /
// b^2.
template<bool squares>
struct Quotient {
  static constexpr std::string_view name = squares ? "test.squares" : "test.quotient";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0] / x[1]); }
  Grads vjp(const Vjp& v) const {
    const Tensor &a = v.input(0), &b = v.input(1);
    const Tensor first = record(Quotient{}, {v.grad, b});
    return {first, squares ? -v.grad * (a / square(b)) : -(first * record(Quotient{}, {a, b}))};
  }
  static std::vector<Sample> samples() {
    return {{"3", {tensor({1, 2, 3}, DType::f64), tensor({2, 3, 5}, DType::f64)}, [](Inputs x) {
               return record(Quotient{}, x);
             }}};
  }
};

int failures(const std::vector<CheckResult>& results) { return summarize(results).failed; }

TEST(Edges, FindADerivativeThatLeavesTheRangeOnTheWay) {
  for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    for (auto& r : check_scales(op_info<Quotient<false>>(), {.dtype = d}))
      EXPECT_TRUE(r.report.ok()) << r.report.failure;
    EXPECT_EQ(failures(check_scales(op_info<Quotient<true>>(), {.dtype = d})), 1) << d;
  }
}

// Each of its steps is right: infinity is the square of 1e20 in f32.
TEST(Precision, FindsWhatIsLostBetweenSteps) {
  const auto of = [](auto op) {
    const Sample sample{"", {full({2}, 1e20, DType::f64), full({2}, 1e20, DType::f64)}, [op](Inputs x) {
                          return record(op, x);
                        }};
    return check_precision(sample, true, DType::f32, Device::cpu());
  };
  for (auto& e : of(Quotient<false>{}).failed)
    ADD_FAILURE() << e.op << ' ' << e.input << ' ' << e.got << ' ' << e.want;
  const auto lost = of(Quotient<true>{});
  ASSERT_FALSE(lost.failed.empty());
  EXPECT_EQ(lost.failed.front().op, "the call");
  EXPECT_EQ(lost.failed.front().got, 0);
  EXPECT_NEAR(std::abs(lost.failed.front().want), 1e-20, 0.51e-20);
}

bool right(DType d, double got, double want, bool elementwise = true) {
  const auto part = [](double v) { return std::vector<Part>{{0, -1, 0, DType::f32, {1}, {v}}}; };
  Judge judge(d, elementwise, {});
  judge(part(got), part(want), "");
  return std::move(judge).report().verdict == Verdict::pass;
}

TEST(Edges, AnInfinityIsRightOnlyWhereTheNumberDoesNotFit) {
  EXPECT_TRUE(right(DType::f16, inf, 65520));
  EXPECT_TRUE(right(DType::f16, inf, 1e9));
  EXPECT_TRUE(right(DType::f16, -inf, -1e9));
  EXPECT_FALSE(right(DType::f16, inf, -1e9));
  EXPECT_FALSE(right(DType::f16, inf, 60000));
  EXPECT_FALSE(right(DType::f16, nan, 1e9));
  EXPECT_FALSE(right(DType::f32, inf, 1e9));
  EXPECT_TRUE(right(DType::f32, inf, 1e39));
  EXPECT_TRUE(right(DType::f64, 1e300, 1e300));
  EXPECT_FALSE(right(DType::f64, inf, 1e300));
}

TEST(Edges, ZeroIsRightOnlyNearTheSmallestNumbers) {
  EXPECT_TRUE(right(DType::f32, 0, 1e-45));
  EXPECT_FALSE(right(DType::f32, 0, 1e-43));
  EXPECT_FALSE(right(DType::f32, 0, 1e-30));
  EXPECT_TRUE(right(DType::f16, 0, 1e-8));
  EXPECT_FALSE(right(DType::f16, 0, 1e-5));
  EXPECT_FALSE(right(DType::f64, 0, 1e-300));
}

TEST(Edges, NaNIsRightOnlyForNaN) {
  EXPECT_TRUE(right(DType::f32, nan, nan));
  EXPECT_FALSE(right(DType::f32, nan, 0));
  EXPECT_FALSE(right(DType::f32, 0, nan));
  EXPECT_FALSE(right(DType::f32, nan, inf));
  EXPECT_FALSE(right(DType::f32, nan, inf, false));
}

// What an infinite probability gives is infinite or NaN, by the order of the products.
TEST(Edges, AnInfiniteProbabilityGivesAnInfinityOrNaN) {
  const auto judged = [](std::string_view op, double got, double want) {
    Judge judge(DType::f32, false, allowed_for(op, Device::cpu(), {}));
    const auto part = [](double v) { return std::vector<Part>{{0, -1, 0, DType::f32, {1}, {v}}}; };
    judge(part(got), part(want), "");
    return std::move(judge).report().verdict == Verdict::pass;
  };
  EXPECT_TRUE(judged("softmax_backward", nan, inf));
  EXPECT_TRUE(judged("softmax_backward", -inf, nan));
  EXPECT_FALSE(judged("softmax_backward", 1, nan));
  EXPECT_FALSE(judged("softmax_backward", nan, 1));
  EXPECT_FALSE(judged("softmax", nan, inf));
}

TEST(Edges, OnAGpuExponentialsBelowTheNormalNumbersMayBe0) {
  const auto judged = [](Device device, double want) {
    Judge judge(DType::f32, true, allowed_for("softmax", device, {8, 16, true}));
    const auto part = [](double v) { return std::vector<Part>{{0, -1, 0, DType::f32, {1}, {v}}}; };
    judge(part(0), part(want), "");
    return std::move(judge).report().verdict == Verdict::pass;
  };
  EXPECT_TRUE(judged(Device::cuda(), 0x1p-127));
  EXPECT_FALSE(judged(Device::cuda(), 0x1p-125));
  EXPECT_FALSE(judged(Device::cpu(), 0x1p-127));
}

// 1e4 + x - 1e4 in f32: half a unit of 1e4 is 5e-4. Nudged inputs say so; without them it is wrong.
TEST(Edges, ASumWhoseTermsCancelIsJudgedByItsTerms) {
  const auto judged = [](bool nudge) {
    Judge judge(DType::f32, false, {});
    const auto part = [](double v) { return std::vector<Part>{{0, -1, 0, DType::f32, {1}, {v}}}; };
    if (nudge)
      judge.nudged_by([&](std::uint64_t signs) { return part(signs == 1 ? 0.1 : 0.1 + 1e4 * 0x1p-23); });
    judge(part(0.1004), part(0.1), "");
    return std::move(judge).report().verdict == Verdict::pass;
  };
  EXPECT_TRUE(judged(true));
  EXPECT_FALSE(judged(false));
}

// Operations on elements cannot count; views, indices and products have no count of their own.
TEST(Edges, EveryOperationThatCountsIsInTheTableOfCounts) {
  const auto names = counted_operations();
  const std::set<std::string> counted(names.begin(), names.end());
  for (const char* op : {"sum",
                         "mean",
                         "var",
                         "std",
                         "max",
                         "min",
                         "amax",
                         "amin",
                         "logsumexp",
                         "norm",
                         "cumsum",
                         "softmax",
                         "masked_softmax",
                         "log_softmax",
                         "cross_entropy",
                         "linear_cross_entropy",
                         "nll_loss",
                         "mse_loss",
                         "l1_loss",
                         "huber_loss",
                         "kl_div",
                         "binary_cross_entropy_with_logits",
                         "layer_norm",
                         "rms_norm",
                         "group_norm",
                         "batch_norm",
                         "avg_pool2d",
                         "scaled_dot_product_attention"})
    EXPECT_TRUE(counted.contains(op)) << op;
  const auto ops = all_ops();
  for (auto& list : {names, operations_with_tails(), operations_with_rules()})
    for (auto& name : list)
      EXPECT_TRUE(std::ranges::any_of(ops, [&](auto& op) { return op.name == name; })) << name;
}

TEST(Edges, EveryExceptionHasAReasonAndIsNeeded) {
  const auto ops = all_ops();
  for (const EdgeException& e : edge_exceptions()) {
    EdgeRunOptions options;
    options.sample = e.sample;
    std::cout << e.op << " (" << e.sample << "), " << e.kind << ", " << e.dtypes << ": " << e.reason << '\n';
    EXPECT_GT(e.reason.size(), 20u);
    int used = 0;
    for (auto& op : ops)
      if (matches(std::string(e.op), op.name))
        for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16})
          for (auto& r : check_edges(op, d, options))
            used += r.report.verdict == Verdict::skip && exception_of(r, d) == &e &&
                    r.report.failure.starts_with("excepted: ");
    EXPECT_GT(used, 0) << e.op << ", " << e.kind;
  }
}

}  // namespace
