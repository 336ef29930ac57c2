// Reductions and cumsum against their definitions, on any layout and number of threads.
#include <bobbin/elementwise.h>
#include <bobbin/parallel.h>
#include <bobbin/random.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "tests/ops/expect_values.h"

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
using Values = std::vector<double>;

// The elements that are reduced to each result, in row-major order.
struct Gathered {
  Shape shape;
  std::vector<Values> groups;
};
Gathered gather_groups(const Tensor& x, const Axes& axes, bool keepdim) {
  Gathered out;
  Dims place = Dims::filled(x.rank(), 0);  // a kept axis' stride in the result; 0 for one reduced
  std::int64_t results = 1;
  const auto reduced = [&](int i) { return axes.empty() || axes.contains(i) || axes.contains(i - x.rank()); };
  for (int i = x.rank() - 1; i >= 0; --i) {
    if (!reduced(i)) {
      place[i] = results;
      results *= x.shape()[i];
    }
  }
  for (int i = 0; i < x.rank(); ++i)
    if (!reduced(i) || keepdim) out.shape.push_back(reduced(i) ? 1 : x.shape()[i]);
  out.groups.resize(static_cast<std::size_t>(results));
  const Strides strides = contiguous_strides(x.shape());
  const auto values = x.to_vector<double>();
  for (std::int64_t k = 0; k < x.numel(); ++k) {
    std::int64_t result = 0;
    for (int i = 0; i < x.rank(); ++i) result += k / strides[i] % x.shape()[i] * place[i];
    out.groups[static_cast<std::size_t>(result)].push_back(values[static_cast<std::size_t>(k)]);
  }
  return out;
}

double exact_sum(const Values& v) {
  long double s = 0;
  for (double x : v) s += x;
  return static_cast<double>(s);
}
double exact_var(const Values& v) {
  const double mean = exact_sum(v) / static_cast<double>(v.size());
  long double s = 0;
  for (double x : v) s += static_cast<long double>(x - mean) * (x - mean);
  return v.size() > 1 ? static_cast<double>(s) / static_cast<double>(v.size() - 1) : nan;
}
double exact_logsumexp(const Values& v) {
  const double m = v.empty() ? -inf : *std::max_element(v.begin(), v.end());
  long double s = 0;
  for (double x : v) s += std::exp(static_cast<long double>(x) - m);
  return v.empty() ? -inf : m + static_cast<double>(std::log(s));
}
double exact_norm(const Values& v, double p) {
  long double s = 0;
  for (double x : v)
    s = std::isinf(p) ? std::max<long double>(s, std::abs(x))
                      : s + std::pow(std::abs(static_cast<long double>(x)), p);
  return static_cast<double>(std::isinf(p) ? s : std::pow(s, 1 / static_cast<long double>(p)));
}
double largest(const Values& v) { return *std::max_element(v.begin(), v.end()); }
double smallest(const Values& v) { return *std::min_element(v.begin(), v.end()); }

struct Reference {
  std::string name;
  std::function<Tensor(const Tensor&, const Axes&, bool)> call;
  std::function<double(const Values&)> exact;
  bool needs_elements = false, floating_only = false;
};
const std::vector<Reference>& references() {
  static const std::vector<Reference> all{
      {"sum", sum, exact_sum},
      {"mean", mean, [](const Values& v) { return exact_sum(v) / static_cast<double>(v.size()); }, false,
       true},
      {"var", [](auto& x, auto& a, bool k) { return var(x, a, 1, k); }, exact_var, false, true},
      {"std", [](auto& x, auto& a, bool k) { return bobbin::std(x, a, 1, k); },
       [](auto& v) { return std::sqrt(exact_var(v)); }, false, true},
      {"max", max, largest, true},
      {"min", min, smallest, true},
      {"amax", amax, largest, true},
      {"amin", amin, smallest, true},
      {"logsumexp", logsumexp, exact_logsumexp, false, true},
      {"norm 1", [](auto& x, auto& a, bool k) { return norm(x, 1, a, k); },
       [](auto& v) { return exact_norm(v, 1); }, false, true},
      {"norm 2", [](auto& x, auto& a, bool k) { return norm(x, 2, a, k); },
       [](auto& v) { return exact_norm(v, 2); }, false, true},
      {"norm 2.5", [](auto& x, auto& a, bool k) { return norm(x, 2.5, a, k); },
       [](auto& v) { return exact_norm(v, 2.5); }, false, true},
      {"norm inf", [](auto& x, auto& a, bool k) { return norm(x, inf, a, k); },
       [](auto& v) { return exact_norm(v, inf); }, false, true},
  };
  return all;
}

double unit(DType d) {
  return d == DType::f64    ? 0x1p-52
         : d == DType::f32  ? 0x1p-23
         : d == DType::bf16 ? 0x1p-8
         : d == DType::f16  ? 0x1p-11
                            : 0;
}

class Shuffle {
 public:
  Shuffle() : engine_(std::random_device()()) {
    const auto seed = engine_();
    manual_seed(seed);
    testing::Test::RecordProperty("seed", std::to_string(seed));
  }
  std::int64_t below(std::int64_t n) {
    return std::uniform_int_distribution<std::int64_t>(0, n - 1)(engine_);
  }

  // Values in any layout: permuted, with gaps, repeated.
  Tensor tensor(DType dtype, std::int64_t most) {
    Shape shape;
    const auto rank = below(5);
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) {
      const std::int64_t size =
          below(5) == 0
              ? 1
              : 1 + below(std::max<std::int64_t>(1, std::min<std::int64_t>(most / n, below(3) ? 9 : most)));
      shape.push_back(size);
      n *= size;
    }
    Tensor x = to(uniform(shape, -4, 4, DType::f64), dtype);
    for (int i = 0; i < rank; ++i) {
      const auto kind = below(5);
      const auto other = static_cast<int>(below(rank));
      if (kind == 0) x = transpose(x, i, other);
      if (kind == 1) x = slice(x, i, below(x.size(i)), x.size(i), 1 + below(3));
      if (kind == 2 && x.size(i) == 1) {
        Shape wide = x.shape();
        wide[i] = 1 + below(20);
        x = expand(x, wide);
      }
    }
    return x;
  }
  Axes axes(int rank) {
    Axes out;
    for (int i = 0; i < rank; ++i)
      if (below(2)) out.push_back(below(2) ? i : i - rank);
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

TEST(Reduce, AgreesWithTheDefinitionOnAnyLayout) {
  Shuffle random;
  for (int round = 0; round < 400; ++round) {
    constexpr DType dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};
    const DType dtype = dtypes[random.below(8)];
    const Tensor x = random.tensor(dtype, round % 8 == 0 ? 30000 : 600);
    const Axes axes = random.axes(x.rank());
    const bool keepdim = random.below(2);
    const Gathered expected = gather_groups(x, axes, keepdim);
    for (const auto& r : references()) {
      if (r.floating_only && !is_floating(dtype)) continue;
      SCOPED_TRACE(testing::Message()
                   << r.name << " of " << x.spec() << " strides " << x.strides() << " axes " << axes);
      const Tensor y = r.call(x, axes, keepdim);
      ASSERT_EQ(y.shape(), expected.shape);
      EXPECT_EQ(y.dtype(), is_floating(dtype) || r.needs_elements ? dtype : DType::i64);
      Values values;
      for (auto& group : expected.groups) {
        const double v = r.exact(group);
        values.push_back(dtype == DType::f16 ? static_cast<float>(Half(static_cast<float>(v)))
                                             : v);  // or infinity
      }
      // Sums of f32 lose nothing until they are written.
      expect_values(y, values, dtype == DType::f64 ? 1e-11 : 4 * unit(dtype));
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Reduce, FindsTheFirstExtremeInRowMajorOrder) {
  Shuffle random;
  for (int round = 0; round < 200; ++round) {
    // Few distinct values: many ties.
    const Tensor x = to(to(random.tensor(DType::f64, 5000), DType::i32), round % 2 ? DType::f32 : DType::i64);
    const Tensor view = x.rank() >= 2 ? transpose(x, 0, static_cast<int>(random.below(x.rank()))) : x;
    const int axis = view.rank() ? static_cast<int>(random.below(view.rank())) : 0;
    SCOPED_TRACE(testing::Message() << view.spec() << " strides " << view.strides() << " axis " << axis);
    const auto index = [&](const Axes& axes, bool most) {
      Values out;
      for (auto& g : gather_groups(view, axes, false).groups)
        out.push_back(static_cast<double>(
            (most ? std::max_element(g.begin(), g.end()) : std::min_element(g.begin(), g.end())) -
            g.begin()));
      return out;
    };
    expect_values(argmax(view), index({}, true));
    expect_values(argmin(view), index({}, false));
    if (view.rank() == 0) continue;
    expect_values(argmax(view, axis), index({axis}, true));
    expect_values(argmin(view, axis - view.rank(), true), index({axis}, false));
  }
}

TEST(Reduce, CumulativeSumsAgreeWithTheDefinition) {
  Shuffle random;
  for (int round = 0; round < 100; ++round) {
    const DType dtype = round % 3 == 0 ? DType::i32 : round % 3 == 1 ? DType::f32 : DType::f16;
    const Tensor x = random.tensor(dtype, 6000);
    if (x.rank() == 0) continue;
    const int axis = static_cast<int>(random.below(x.rank()));
    const bool reverse = random.below(2);
    const Tensor y = cumsum(x, axis, reverse);
    EXPECT_EQ(y.dtype(), dtype == DType::i32 ? DType::i64 : dtype);
    const auto in = gather_groups(x, {axis}, false).groups, out = gather_groups(y, {axis}, false).groups;
    for (std::size_t k = 0; k < in.size(); ++k) {
      double total = 0;
      for (std::size_t i = 0; i < in[k].size(); ++i) {
        const std::size_t at = reverse ? in[k].size() - 1 - i : i;
        total += in[k][at];
        ASSERT_NEAR(out[k][at], total, unit(dtype) * (1 + std::abs(total)));
      }
    }
  }
}

TEST(Reduce, LongSumsKeepTheirDigits) {
  manual_seed(std::random_device()());
  const std::int64_t n = 10'000'000;
  const Tensor x = uniform({n}, 0, 1);
  const double exact = exact_sum(x.to_vector<double>());
  EXPECT_EQ(sum(x).item<float>(), static_cast<float>(exact));
  EXPECT_EQ(mean(x).item<float>(), static_cast<float>(exact / static_cast<double>(n)));
  // A naive float sum of ones stops at 2^24.
  EXPECT_EQ(sum(expand(ones({1}), {1 << 25})).item(), 1 << 25);
  // Halves sum exactly in f64, and only the result rounds; a mean does not overflow on the way.
  EXPECT_EQ(mean(full({100'000}, 60'000, DType::f16)).item(),
            static_cast<double>(static_cast<float>(Half(60'000.0f))));
  EXPECT_EQ(sum(full({300}, 0.0078125, DType::bf16)).item(), 2.34375);
  // The mean is 2^26 times the spread: squares would cancel.
  const Tensor shifted = to(uniform({100'000}, 0, 1), DType::f64);
  EXPECT_NEAR(var(shifted + 0x1p26).item(), var(shifted).item(), 1e-8);
  EXPECT_NEAR(logsumexp(zeros({n})).item<float>(), std::log(1e7), 1e-6);
}

TEST(Reduce, TheNumberOfThreadsDoesNotMatter) {
  manual_seed(std::random_device()());
  const int before = num_threads();
  const Tensor long_one = randn({1'300'001}), tall = randn({70'001, 17}), wide = randn({33, 5000}),
               cube = randn({40, 50, 60});
  const std::pair<Tensor, Axes> calls[] = {
      {long_one, {}}, {tall, {0}}, {tall, {1}}, {tall, {}},
      {wide, {0}},    {wide, {1}}, {cube, {1}}, {transpose(cube, 0, 2), {0, 2}}};
  for (const auto& r : references()) {
    std::vector<std::vector<float>> first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      std::vector<std::vector<float>> got;
      for (auto& [x, axes] : calls) got.push_back(r.call(x, axes, false).to_vector<float>());
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << r.name << " on " << threads << " threads";
    }
  }
  set_num_threads(before);
}

}  // namespace
