// Attention's kernels against the same computed from products and softmax, over sizes around those of their
// blocks; their memory, and their bits for any number of threads.
#include "ops/attention/attention.h"

#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_relative.h"

using namespace bobbin;

namespace {

struct Case {
  Shape query, key, value;  // [b, h, l, d], [b, k, s, d], [b, k, s, e]
  AttentionOptions options = {};
};

// The weights in f64, by the formula: [b, h, l, s].
Tensor weights_of(const Case& c, const Tensor& query, const Tensor& key) {
  const std::int64_t heads = query.size(1), group = heads / key.size(1), l = query.size(2), s = key.size(2);
  std::vector<std::int64_t> of;
  for (std::int64_t i = 0; i < heads; ++i) of.push_back(i / group);
  const double scale = c.options.scale.value_or(1 / std::sqrt(static_cast<double>(query.size(3))));
  Tensor logits = matmul(query, transpose(index_select(key, 1, from_range(of)))) * scale;
  const Tensor never = full({}, -std::numeric_limits<double>::infinity(), DType::f64);
  if (c.options.mask)
    logits = c.options.mask.dtype() == DType::boolean ? where(c.options.mask, logits, never)
                                                      : logits + to(c.options.mask, DType::f64);
  if (c.options.causal) {
    const Tensor i = reshape(arange(0, l, 1, DType::i64), {l, 1}), j = arange(0, s, 1, DType::i64);
    logits = where(j <= i, logits, never);
  }
  const Tensor most = maximum(amax(logits.detach(), {-1}, true), full({}, -1e300, DType::f64));
  const Tensor e = exp(logits - most), total = sum(e, {-1}, true);
  return e / where(total > 0, total, ones({}, DType::f64));  // 0 where nothing is seen
}

Tensor expected(const Case& c, Inputs x) {
  const std::int64_t heads = x[0].size(1), group = heads / x[1].size(1);
  std::vector<std::int64_t> of;
  for (std::int64_t i = 0; i < heads; ++i) of.push_back(i / group);
  Tensor weights = weights_of(c, x[0], x[1]);
  if (c.options.dropout > 0) weights = dropout(weights, c.options.dropout);
  return matmul(weights, index_select(x[2], 1, from_range(of)));
}

Tensor attend(const Case& c, Inputs x) {
  AttentionOptions o = c.options;
  o.enable_gqa = true;
  return scaled_dot_product_attention(x[0], x[1], x[2], o);
}

// The largest difference, relative to the largest element.
double distance(const Tensor& a, const Tensor& b) {
  double most = 0, size = 1e-300;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  EXPECT_EQ(x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(std::abs(x[i] - y[i]) <= 1e300)) return std::isnan(x[i]) && std::isnan(y[i]) ? most : 1e300;
    most = std::max(most, std::abs(x[i] - y[i]));
    size = std::max(size, std::abs(y[i]));
  }
  return most / size;
}

struct Results {
  Tensor y;
  Grads grads;
};
template<class F>
Results run(const Case& c, F f, std::vector<Tensor> x, const Tensor& cotangent) {
  for (Tensor& t : x) t = t.detach().set_requires_grad();
  const GeneratorScope fixed({5, 3});
  const Tensor y = f(c, Inputs(x));
  return {y, grad(y, x, to(cotangent, y.dtype()))};
}

void expect_right(const Case& c, DType type, double tolerance) {
  manual_seed(11);
  std::vector<Tensor> x{randn(c.query, type), randn(c.key, type), randn(c.value, type)}, wide;
  for (const Tensor& t : x) wide.push_back(to(t, DType::f64));
  Shape shape = c.query;
  shape[3] = c.value[3];
  const Tensor g = randn(shape, type);
  poison_allocations(true);
  const Results got = run(c, attend, x, g);
  poison_allocations(false);
  const Results want = run(c, expected, wide, to(g, DType::f64));
  const std::string where = [&] {
    std::ostringstream s;
    s << name(type) << ' ' << c.query << ' ' << c.key << ' ' << c.value << (c.options.causal ? " causal" : "")
      << (c.options.mask ? " mask" : "") << " dropout " << c.options.dropout;
    return s.str();
  }();
  EXPECT_LE(distance(got.y, want.y), tolerance) << where;
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_LE(distance(got.grads[i], want.grads[i]), tolerance) << where << " input " << i;
}

double tolerance_of(DType t) {
  return t == DType::f64 ? 1e-13 : t == DType::f32 ? 3e-6 : 8 * unit_roundoff(t);
}

TEST(AttentionKernel, IsTheSoftmaxOfLogitsTimesValuesAtAllLengths) {
  for (const std::int64_t l : {1, 3, 63, 64, 65, 130})
    for (const std::int64_t s : {1, 2, 17, 127, 128, 129, 511, 512, 513, 1100})
      for (const bool causal : {false, true})
        expect_right({{1, 2, l, 5}, {1, 2, s, 5}, {1, 2, s, 3}, {.causal = causal}}, DType::f64, 1e-13);
  for (const DType t : {DType::f32, DType::bf16, DType::f16})
    for (const auto& [l, s] : {std::pair{65, 130}, {3, 1100}, {200, 600}})
      for (const bool causal : {false, true})
        expect_right({{1, 2, l, 8}, {1, 2, s, 8}, {1, 2, s, 8}, {.causal = causal}}, t, tolerance_of(t));
}

TEST(AttentionKernel, TakesHeadsOfAnySize) {
  for (const std::int64_t d : {1, 7, 15, 16, 17, 48, 64, 80, 128, 200, 257, 300})
    for (const std::int64_t e : {std::int64_t{1}, std::int64_t{33}, d})
      expect_right({{1, 1, d + 9, d}, {1, 1, 140, d}, {1, 1, 140, e}}, DType::f32, 3e-6);
}

TEST(AttentionKernel, TakesMasksOfAllShapes) {
  manual_seed(2);
  for (const DType t : {DType::f64, DType::f32, DType::f16})
    for (const Shape& shape : {Shape{2, 4, 70, 600}, Shape{70, 600}, Shape{600}, Shape{2, 1, 1, 600},
                               Shape{4, 1, 1}, Shape{70, 1}, Shape{}})
      for (const bool causal : {false, true}) {
        const Tensor bools = bernoulli(shape, .7, DType::f64) > .5;
        for (const Tensor& mask :
             {bools, randn(shape, t),
              where(bools, zeros({}, t), full({}, -std::numeric_limits<double>::infinity(), t))})
          expect_right({{2, 4, 70, 4}, {2, 2, 600, 4}, {2, 2, 600, 4}, {.mask = mask, .causal = causal}}, t,
                       tolerance_of(t));
      }
  // An f32 mask of 16-bit queries is not rounded: 1 / 4096 of a logit counts.
  const Tensor q = zeros({1, 1}, DType::f16), v = tensor({{0}, {1}}, DType::f16);
  const Tensor y =
      scaled_dot_product_attention(q, zeros({2, 1}, DType::f16), v, {.mask = tensor({2049, 2049.5})});
  EXPECT_NEAR(y.item(), 1 / (1 + std::exp(-.5)), 1e-3);
  // A mask that is a view.
  const Tensor wide = bernoulli({600, 70, 2}, .7, DType::f64) > .5;
  expect_right({{1, 2, 70, 4}, {1, 2, 600, 4}, {1, 2, 600, 4}, {.mask = permute(wide, {2, 1, 0})}},
               DType::f32, 3e-6);
}

TEST(AttentionKernel, SharesKeysAmongGroupsOfHeads) {
  for (const std::int64_t k : {1, 2, 3, 6})
    for (const bool causal : {false, true})
      expect_right({{2, 6, 70, 4}, {2, k, 200, 4}, {2, k, 200, 3}, {.causal = causal}}, DType::f32, 3e-6);
  // Many queries: the gradients of keys are added up in f64.
  expect_right({{1, 6, 700, 4}, {1, 1, 130, 4}, {1, 1, 130, 4}}, DType::f32, 3e-6);
}

TEST(AttentionKernel, DropsTheWeightsThatDropoutDrops) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const double p : {.1, .5, 1.}) {
      expect_right({{2, 2, 70, 4}, {2, 1, 531, 4}, {2, 1, 531, 4}, {.causal = true, .dropout = p}}, t,
                   tolerance_of(t));
      expect_right({{1, 1, 3, 4}, {1, 1, 7, 4}, {1, 1, 7, 4}, {.dropout = p}}, t, tolerance_of(t));
    }
  const Tensor x = ones({2, 2});
  manual_seed(1);
  EXPECT_THROW(scaled_dot_product_attention(x, x, x, {.mask = ones({3}), .dropout = .5}), ShapeError);
  EXPECT_EQ(default_generator().draws, 0u);
  scaled_dot_product_attention(x, x, x, {.dropout = .5});
  EXPECT_EQ(default_generator().draws, 1u);
}

TEST(AttentionKernel, ScalesAsTold) {
  for (const double scale : {0., .3, -2.})
    expect_right({{1, 2, 9, 4}, {1, 2, 12, 4}, {1, 2, 12, 4}, {.scale = scale}}, DType::f64, 1e-13);
  const Tensor x = ones({2, 2});
  for (const double scale : {std::numeric_limits<double>::infinity(), std::nan("")})
    EXPECT_THROW(scaled_dot_product_attention(x, x, x, {.scale = scale}), ValueError);
}

// Each axis before the last two may be missing or 1 in some of the operands.
TEST(AttentionKernel, LeadingAxesBroadcast) {
  manual_seed(12);
  const Tensor q = randn({2, 1, 2, 5, 4}), k = randn({3, 1, 7, 4}), v = randn({2, 7, 3});
  const Tensor bools = bernoulli({2, 1, 1, 5, 7}, .7) > .5, numbers = randn({3, 2, 1, 7});
  for (const Tensor& mask : {Tensor(), bools, numbers}) {
    const Tensor y = scaled_dot_product_attention(q, k, v, {.mask = mask});
    ASSERT_EQ(y.shape(), (Shape{2, 3, 2, 5, 3}));
    const Tensor whole = mask ? expand(mask, {2, 3, 2, 5, 7}) : mask;
    for (const std::int64_t i : {0, 1})
      for (const std::int64_t j : {0, 1, 2})
        for (const std::int64_t h : {0, 1}) {
          const Tensor one = mask ? select(select(select(whole, 0, i), 0, j), 0, h) : mask;
          const Tensor want =
              scaled_dot_product_attention(select(select(select(q, 0, i), 0, 0), 0, h),
                                           select(select(k, 0, j), 0, 0), select(v, 0, h), {.mask = one});
          EXPECT_EQ(select(select(select(y, 0, i), 0, j), 0, h).to_vector<double>(),
                    want.to_vector<double>());
        }
  }
  // Grouped heads with more axes before them.
  const Tensor many = randn({2, 3, 4, 5, 4}), few = randn({3, 2, 7, 4});
  const Tensor y = scaled_dot_product_attention(many, few, few, {.enable_gqa = true});
  EXPECT_EQ(select(select(select(y, 0, 1), 0, 2), 0, 3).to_vector<double>(),
            scaled_dot_product_attention(select(select(select(many, 0, 1), 0, 2), 0, 3),
                                         select(select(few, 0, 2), 0, 1), select(select(few, 0, 2), 0, 1))
                .to_vector<double>());
}

TEST(AttentionKernel, UnderAutocastOperandsAreRounded) {
  manual_seed(13);
  const Tensor q = randn({2, 5, 4}), k = randn({2, 7, 4}), v = randn({2, 7, 3}), mask = randn({5, 7});
  const auto narrow = [](const Tensor& x) { return to(x, DType::bf16); };
  const Tensor want = scaled_dot_product_attention(narrow(q), narrow(k), narrow(v), {.mask = mask});
  for (const auto results : {ProductResults::f32, ProductResults::narrow}) {
    const Autocast scope(DType::bf16, results);
    for (const Tensor& key : {k, narrow(k)}) {
      const Tensor y = scaled_dot_product_attention(q, key, v, {.mask = mask});
      EXPECT_EQ(y.dtype(), results == ProductResults::f32 ? DType::f32 : DType::bf16);
      EXPECT_EQ(y.to_vector<double>(), want.to_vector<double>());
    }
    EXPECT_EQ(scaled_dot_product_attention(to(q, DType::f64), to(k, DType::f64), to(v, DType::f64)).dtype(),
              DType::f64);
  }
}

// Logits of 20000 are 2e-3 apart in f32, so that one rounded log-sum-exp would be off by as much.
TEST(AttentionKernel, WeightsOfLargeLogitsKeepTheirDigits) {
  const Tensor q = full({1, 1, 3, 1}, 128).set_requires_grad(),
               k = full({1, 1, 3, 1}, 160).set_requires_grad(),
               v = reshape(tensor({3, 6, 12}), {1, 1, 3, 1}).set_requires_grad();
  const Tensor y = scaled_dot_product_attention(q, k, v);
  EXPECT_NEAR(y.to_vector<double>()[0], 7, 1e-6);
  const auto g = grad(sum(y), {v, k});
  for (const double w : g[0].to_vector<double>()) EXPECT_NEAR(w, 1, 1e-6);
  // 3 rows of weight 1/3 times (v - 7) times 128.
  EXPECT_LE(distance(g[1], reshape(tensor({-4 * 128, -128, 5 * 128}), {1, 1, 3, 1})), 1e-6);
}

// Where one weight is almost 1, the gradient of its logit is as small as the others, and as exact.
TEST(AttentionKernel, TheGradientOfADominantWeightKeepsItsDigits) {
  for (const std::int64_t s : {3, 700}) {
    const Case c{{1, 1, 4, 2}, {1, 1, s, 2}, {1, 1, s, 3}, {.scale = 1}};
    manual_seed(3);
    std::vector<double> k(static_cast<std::size_t>(2 * s), 0);
    k[2] = 14;  // the second key dominates
    for (std::size_t i = 1; i < k.size(); i += 2) k[i] = i == 3 ? 0 : 1 / 64. * static_cast<double>(i % 61);
    const Tensor q = tensor({{{{1, 0}, {.5, 0}, {1, .25}, {.75, 0}}}}, DType::f64), kk = from_range(k, c.key),
                 v = randn(c.value, DType::f64), g = randn({1, 1, 4, 3}, DType::f64);
    const Results want = run(c, expected, {q, kk, v}, g);
    const Results got =
        run(c, attend, {to(q, DType::f32), to(kk, DType::f32), to(v, DType::f32)}, to(g, DType::f32));
    const auto x = got.grads[0].to_vector<double>(), y = want.grads[0].to_vector<double>();
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i] / y[i], 1, 1e-3) << s << ' ' << i;
  }
}

TEST(AttentionKernel, ThreadsDoNotChangeBits) {
  const int before = num_threads();
  for (const Case& c :
       {Case{{1, 2, 200, 17}, {1, 1, 700, 17}, {1, 1, 700, 9}, {.causal = true, .dropout = .1}},
        Case{{3, 16, 70, 8}, {3, 16, 130, 8}, {3, 16, 130, 8}}}) {
    manual_seed(4);
    const std::vector<Tensor> x{randn(c.query), randn(c.key), randn(c.value)};
    Shape shape = c.query;
    shape[3] = c.value[3];
    const Tensor g = randn(shape);
    std::vector<std::vector<double>> bits;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const Results r = run(c, attend, x, g);
      std::vector<double> all = r.y.to_vector<double>();
      for (const Tensor& t : r.grads)
        for (const double v : t.to_vector<double>()) all.push_back(v);
      bits.push_back(all);
    }
    EXPECT_EQ(bits[0], bits[1]);
    EXPECT_EQ(bits[0], bits[2]);
  }
  set_num_threads(before);
}

// The scores of 4096 queries and keys are 64 MiB; each operand is 128 KiB.
TEST(AttentionKernel, MemoryIsLinearInTheLengths) {
  const auto peak = [](std::int64_t n) {
    const Case c{{1, 1, n, 8}, {1, 1, n, 8}, {1, 1, n, 8}, {.causal = true}};
    std::vector<Tensor> x{randn(c.query), randn(c.key), randn(c.value)};
    const Tensor g = randn(c.query);
    const std::int64_t live = allocator().stats().bytes_live;
    allocator().reset_peak();
    run(c, attend, x, g);
    return allocator().stats().bytes_peak - live;
  };
  const std::int64_t half = peak(2048), whole = peak(4096);
  EXPECT_LE(whole, 8 << 20);
  EXPECT_LE(whole, 2 * half + (1 << 20));
}

TEST(AttentionKernel, AFloatingMaskHasAGradient) {
  manual_seed(8);
  const Case c{{2, 2, 5, 3}, {2, 2, 70, 3}, {2, 2, 70, 2}};
  std::vector<Tensor> x{randn(c.query, DType::f64), randn(c.key, DType::f64), randn(c.value, DType::f64)};
  const Tensor g = randn({2, 2, 5, 2}, DType::f64);
  for (const Shape& shape : {Shape{5, 70}, Shape{2, 1, 1, 70}, Shape{2, 2, 5, 70}}) {
    const Tensor mask = randn(shape, DType::f64).set_requires_grad();
    Case masked = c;
    masked.options.mask = mask;
    const Tensor got = grad(attend(masked, x), {mask}, g)[0], want = grad(expected(masked, x), {mask}, g)[0];
    EXPECT_LE(distance(got, want), 1e-13);
  }
}

// The derivative with a tape for the next order is composed of other operations than the one without.
TEST(AttentionKernel, BothFirstDerivativesAgree) {
  manual_seed(9);
  const Case c{{2, 4, 70, 8}, {2, 2, 140, 8}, {2, 2, 140, 5}, {.causal = true, .dropout = .2}};
  std::vector<Tensor> x{randn(c.query), randn(c.key), randn(c.value)};
  for (Tensor& t : x) t.set_requires_grad();
  const Tensor y = attend(c, x), g = randn(y.shape());
  const Grads fused = grad(y, x, g, CreateGraph::yes), taped = grad(y, x, g);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_LE(distance(fused[i], taped[i]), 3e-6) << i;
}

// Their weights are kept.
TEST(AttentionKernel, TakesFewQueriesOfManyKeys) {
  for (const std::int64_t heads : {1, 2})
    for (const std::int64_t l : {1, 2, 8, 9})
      for (const DType t : {DType::f64, DType::f32, DType::bf16})
        expect_right({{2, heads, l, 16}, {2, 1, 300, 16}, {2, 1, 300, 16}}, t, tolerance_of(t));
}

}  // namespace
