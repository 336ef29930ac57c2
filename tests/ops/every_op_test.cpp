// Tests every operation of the catalogue with its samples, for the properties that all operations must have.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/gradcheck/checks/checks.h"
#include "tests/ops/samples_of.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

constexpr std::uint64_t seed = 20;

bool differentiable(const OpInfo& op, const Sample& s) {
  return s.throws.empty() && op.differentiable && s.differentiable;
}

bool at_kinks(const OpInfo&, const Sample& s) { return s.throws.empty() && s.at_kinks; }
bool batch(const OpInfo&, const Sample& s) { return s.throws.empty() && s.batch; }

// Within `relative` of each element of b, and `absolute` of the largest; NaN equals NaN.
void expect_close(const Tensor& a, const Tensor& b, double relative, double absolute) {
  ASSERT_EQ(a.shape(), b.shape());
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double largest = 0;
  for (double v : y)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    if (x[i] == y[i]) continue;
    EXPECT_LE(std::abs(x[i] - y[i]), absolute * largest + relative * std::abs(y[i]))
        << "flat index " << i << ": " << x[i] << " and " << y[i];
  }
}

void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.spec(), b.spec());
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_TRUE(x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i])))
        << "flat index " << i << ": " << x[i] << " and " << y[i];
}

Tensor strided(const Tensor& x) {
  return x ? gradcheck_detail::laid_out(x, gradcheck_detail::Layout::strided) : x;
}

Tensor as(DType d, const Tensor& x) { return x && is_floating(x.dtype()) ? to(x, d) : x; }

template<class F>
std::vector<Tensor> mapped(std::span<const Tensor> xs, F&& f) {
  std::vector<Tensor> out;
  for (auto& x : xs) out.push_back(f(x));
  return out;
}

class ValidSample : public testing::TestWithParam<Case> {};
class InvalidSample : public testing::TestWithParam<Case> {};
class DifferentiableSample : public testing::TestWithParam<Case> {};
class KinkSample : public testing::TestWithParam<Case> {};
class BatchSample : public testing::TestWithParam<Case> {};

TEST_P(ValidSample, WritesEveryElement) {
  const Sample s = sample_of(GetParam());
  const Tensor expected = s.call(s.inputs);
  allocator().release_cached();
  poison_allocations(true);
  const Tensor poisoned = s.call(s.inputs);
  poison_allocations(false);
  expect_same_bits(poisoned, expected);
}

TEST_P(ValidSample, LeavesItsInputsAlone) {
  const Sample s = sample_of(GetParam()), again = sample_of(GetParam());
  s.call(s.inputs);
  for (std::size_t i = 0; i < s.inputs.size(); ++i)
    if (s.inputs[i]) expect_same_bits(s.inputs[i], again.inputs[i]);
}

// Sums may run in another order over other strides; everything else must agree to the bit.
TEST_P(ValidSample, StridedInputsGiveWhatContiguousOnesGive) {
  const Sample s = sample_of(GetParam());
  expect_close(s.call(mapped(s.inputs, strided)), s.call(s.inputs), 1e-13, 1e-13);
}

TEST_P(ValidSample, ThreadsDoNotChangeTheResult) {
  const Sample s = sample_of(GetParam());
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = s.call(s.inputs);
  set_num_threads(3);
  const Tensor three = s.call(s.inputs);
  set_num_threads(before);
  expect_same_bits(one, three);
}

TEST_P(ValidSample, NarrowerTypesAgreeWithF64) {
  const Sample s = sample_of(GetParam());
  for (const auto& [dtype, unit] :
       {std::pair{DType::f32, 0x1p-23}, {DType::bf16, 0x1p-8}, {DType::f16, 0x1p-11}}) {
    const auto narrow = mapped(s.inputs, [&](const Tensor& x) { return as(dtype, x); });
    const auto wide = mapped(narrow, [](const Tensor& x) { return as(DType::f64, x); });
    Tensor got;
    try {
      got = s.call(narrow);
    } catch (const DTypeError&) {
      continue;  // the sample holds f64 constants of its own
    } catch (const ShapeError&) {
      continue;
    }
    if (!is_floating(got.dtype()) || got.dtype() != dtype) continue;
    SCOPED_TRACE(name(dtype));
    const Tensor rounded = to(to(s.call(wide), dtype), DType::f64);
    expect_close(to(got, DType::f64), rounded, 8 * unit, 4 * unit);
  }
}

TEST_P(InvalidSample, ThrowsItsMessageAndLeavesItsInputsAlone) {
  const Sample s = sample_of(GetParam()), again = sample_of(GetParam());
  try {
    s.call(s.inputs);
    ADD_FAILURE() << "did not throw: " << s.throws;
  } catch (const Error& e) {
    EXPECT_EQ(e.what(), s.throws);
  }
  for (std::size_t i = 0; i < s.inputs.size(); ++i)
    if (s.inputs[i]) expect_same_bits(s.inputs[i], again.inputs[i]);
}

// Nothing could be compared only where there is nothing.
void expect_right(const Sample& s, const GradcheckReport& report) {
  const bool empty = std::ranges::all_of(
      s.inputs, [](const Tensor& x) { return !x || !is_floating(x.dtype()) || x.numel() == 0; });
  EXPECT_TRUE(report.ok() || (empty && report.verdict == Verdict::skip))
      << name(report.verdict) << ": " << report.failure;
}

TEST_P(DifferentiableSample, GradientMatchesDifferences) {
  const Sample s = sample_of(GetParam());
  expect_right(s, gradcheck(s.call, s.inputs));
}

TEST_P(DifferentiableSample, SecondGradientMatchesDifferences) {
  const Sample s = sample_of(GetParam());
  expect_right(s, gradcheck(s.call, s.inputs, {.order = 2}));
}

TEST_P(KinkSample, FollowsItsRule) {
  const Sample s = sample_of(GetParam());
  expect_right(s, gradcheck(s.call, s.inputs, {.at_kinks = s.at_kinks}));
}

TEST_P(BatchSample, RowsAreIndependent) {
  const Sample s = sample_of(GetParam());
  EXPECT_EQ(gradcheck_detail::compare_rows(s.call, s.inputs, seed), "");
}

TEST_P(DifferentiableSample, LayoutsChangeNothing) {
  using gradcheck_detail::Layout;
  const Sample s = sample_of(GetParam());
  for (const Layout l : {Layout::strided, Layout::expanded})
    EXPECT_EQ(gradcheck_detail::compare_layout(s.call, s.inputs, l, seed), "") << name(l);
}

TEST_P(DifferentiableSample, ZeroCotangentGivesZeroGradient) {
  const Sample s = sample_of(GetParam());
  const auto xs = mapped(s.inputs, [](const Tensor& x) {
    return x && is_floating(x.dtype()) ? x.detach().set_requires_grad() : x;
  });
  const Tensor y = s.call(xs);
  ASSERT_TRUE(y.requires_grad());
  backward(y, zeros_like(y.detach()));
  for (auto& x : xs) {
    if (!x || !x.grad()) continue;
    for (double g : x.grad().to_vector<double>()) EXPECT_EQ(g, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Catalog, ValidSample, testing::ValuesIn(cases(seed, valid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, InvalidSample, testing::ValuesIn(cases(seed, is_invalid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, DifferentiableSample, testing::ValuesIn(cases(seed, differentiable)),
                         label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, KinkSample, testing::ValuesIn(cases(seed, at_kinks)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, BatchSample, testing::ValuesIn(cases(seed, batch)), label_of);

TEST(Catalog, EveryOpHasValidEdgeAndInvalidSamples) {
  for (auto& op : all_ops()) {
    const auto n = gradcheck_detail::count_samples(op, seed);
    EXPECT_GT(n.valid, n.edge) << op.name;
    EXPECT_GT(n.edge, 0) << op.name;
    EXPECT_GT(n.invalid, 0) << op.name;
    if (op.differentiable) {
      EXPECT_GT(n.checked, 0) << op.name;
    }
  }
}

// A derivative that throws, or is a constant where it should not be, is not checked by being skipped.
TEST(Catalog, EveryDerivativeIsDifferentiatedOnceMore) {
  for (auto& op : all_ops()) {
    if (!op.differentiable) continue;
    std::int64_t elements = 0;
    for (auto& s : samples_of(op, seed))
      if (differentiable(op, s)) elements += gradcheck(s.call, s.inputs, {.order = 2}).elements;
    EXPECT_GT(elements, 0) << op.name;
  }
}

TEST(Catalog, NamesAreUnique) {
  std::set<std::string_view> names;
  for (auto& op : all_ops()) EXPECT_TRUE(names.insert(op.name).second) << op.name;
}

}  // namespace
