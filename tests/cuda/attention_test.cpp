// Attention on a GPU against attention of the same numbers in f64 on the CPU: forward and derivatives, for
// lengths and head sizes around those of the kernels' blocks, masks, groups of heads; the same bits
// at each run.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaAttention = SeededCuda<12>;

struct Case {
  Shape query, key, value;  // [b, h, l, d], [b, k, s, d], [b, k, s, e]
  AttentionOptions options = {};
};
struct Results {
  Tensor y;
  Grads grads;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.query << ' ' << c.key << ' ' << c.value << (c.options.causal ? " causal" : "")
             << (c.options.mask ? " mask" : "") << " dropout " << c.options.dropout;
}

Results run(const Case& c, std::vector<Tensor> x, const Tensor& cotangent) {
  for (Tensor& t : x) t = t.detach().set_requires_grad();
  AttentionOptions o = c.options;
  o.enable_gqa = true;
  if (o.mask) o.mask = to(o.mask, x[0].device());
  if (o.mask && o.mask.dtype() != DType::boolean && x[0].dtype() == DType::f64)
    o.mask = to(o.mask, DType::f64);
  const GeneratorScope fixed({5, 3});
  const Tensor y = scaled_dot_product_attention(x[0], x[1], x[2], o);
  return {y, grad(y, x, cotangent)};
}

std::vector<Tensor> draw(const Case& c, DType t) {
  return {randn(c.query, t), randn(c.key, t), randn(c.value, t),
          randn({c.query[0], c.query[1], c.query[2], c.value[3]}, t)};
}

// The largest difference, of numbers whose terms are of the size of 1 or of the largest number.
double distance(const Tensor& a, const Tensor& exact) {
  double most = 0, size = 1;
  const auto x = to(to(a, Device::cpu()), DType::f64).to_vector<double>(), y = exact.to_vector<double>();
  EXPECT_EQ(x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(std::abs(x[i] - y[i]) <= most)) most = std::abs(x[i] - y[i]);
    size = std::max(size, std::abs(y[i]));
  }
  return most / size;
}

// Of 16-bit types the weights and the gradients of the logits are rounded too, before the second products.
double tolerance_of(DType t) { return t == DType::f16 ? 0x1p-8 : 0x1p-5; }

void expect_right(const Case& c, DType t) {
  const std::vector<Tensor> x = draw(c, t);
  std::vector<Tensor> wide, there;
  for (const Tensor& v : x) wide.push_back(to(v, DType::f64)), there.push_back(to(v, gpu));
  const Results want = run(c, {wide[0], wide[1], wide[2]}, wide[3]);
  const Results got = run(c, {there[0], there[1], there[2]}, there[3]);
  std::ostringstream where;
  where << name(t) << ' ' << c;
  EXPECT_LE(distance(got.y, want.y), tolerance_of(t)) << where.str();
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_LE(distance(got.grads[i], want.grads[i]), tolerance_of(t)) << where.str() << " input " << i;
}

const DType types[] = {DType::bf16, DType::f16};

}  // namespace

TEST_F(CudaAttention, AllLengths) {
  for (const DType t : types)
    for (const std::int64_t l : {1, 2, 63, 64, 65, 127, 129, 1025})
      for (const std::int64_t s : {1, 2, 31, 64, 65, 128, 1000})
        for (const bool causal : {false, true})
          expect_right({{1, 2, l, 16}, {1, 2, s, 16}, {1, 2, s, 16}, {.causal = causal}}, t);
}

TEST_F(CudaAttention, AllHeadSizes) {
  for (const DType t : types)
    for (const std::int64_t d : {1, 2, 8, 15, 16, 40, 63, 64, 65, 80, 127, 128, 129, 256})
      for (const std::int64_t e : {std::int64_t{1}, std::int64_t{24}, d})
        expect_right({{1, 2, 70, d}, {1, 2, 140, d}, {1, 2, 140, e}, {.causal = d % 2 == 0}}, t);
}

TEST_F(CudaAttention, MasksOfAllShapes) {
  for (const DType t : types)
    for (const Shape& shape : {Shape{2, 4, 70, 200}, Shape{70, 200}, Shape{200}, Shape{2, 1, 1, 200},
                               Shape{4, 1, 1}, Shape{70, 1}, Shape{}})
      for (const std::int64_t d : {16, 96}) {
        const Tensor bools = bernoulli(shape, .7, DType::f64) > .5;
        const Tensor never = full({}, -std::numeric_limits<double>::infinity(), t);
        for (const Tensor& mask :
             {bools, randn(shape, t), where(bools, zeros({}, t), never), randn(shape, DType::f32)})
          expect_right({{2, 4, 70, d}, {2, 2, 200, d}, {2, 2, 200, d}, {.mask = mask, .causal = d == 96}}, t);
      }
  const Tensor view = permute(bernoulli({200, 70, 2}, .7, DType::f64) > .5, {2, 1, 0});
  expect_right({{1, 2, 70, 8}, {1, 2, 200, 8}, {1, 2, 200, 8}, {.mask = view}}, DType::f16);
}

// Queries, keys, values and cotangents that are views of other tensors, and inputs that broadcast.
TEST_F(CudaAttention, ViewsAreReadWhereTheyLie) {
  for (const DType t : types) {
    const Case c{{2, 3, 70, 5}, {2, 3, 90, 5}, {2, 3, 90, 4}, {.causal = true}};
    std::vector<Tensor> wide, there;
    for (const Shape& s : {Shape{70, 2, 3, 5}, Shape{90, 2, 3, 5}, Shape{90, 2, 3, 4}, Shape{70, 2, 3, 4}}) {
      const Tensor x = randn(s, t);
      wide.push_back(permute(to(x, DType::f64), {1, 2, 0, 3}));
      there.push_back(permute(to(x, gpu), {1, 2, 0, 3}));
    }
    const auto results = [&](const std::vector<Tensor>& x) {  // of the views themselves, not of copies
      std::vector<Tensor> of(x.begin(), x.begin() + 3);
      for (Tensor& v : of) v.set_requires_grad();
      const Tensor y = scaled_dot_product_attention(of[0], of[1], of[2], c.options);
      return Results{y, grad(y, of, x[3])};
    };
    const Results want = results(wide), got = results(there);
    EXPECT_LE(distance(got.y, want.y), tolerance_of(t));
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_LE(distance(got.grads[i], want.grads[i]), tolerance_of(t)) << name(t) << " input " << i;
  }
}

// A padded row or column of a tile is 0, and 0 times an infinite number NaN.
TEST_F(CudaAttention, PaddingBesideInfiniteNumbersGivesNoNaN) {
  for (const DType t : types) {
    std::vector<Tensor> x{ones({1, 1, 3, 5}, t), ones({1, 1, 4, 5}, t), ones({1, 1, 4, 5}, t),
                          ones({1, 1, 3, 5}, t)};
    narrow(x[1], 2, 1, 1).fill_(-std::numeric_limits<double>::infinity());  // its weights are 0
    for (Tensor& v : x) v = to(v, gpu);
    const Results r = run({x[0].shape(), x[1].shape(), x[2].shape()}, {x[0], x[1], x[2]}, x[3]);
    for (const Tensor& v : {r.y, r.grads[1], r.grads[2]})
      EXPECT_TRUE(std::isfinite(to(sum(to(v, DType::f32)), DType::f64).item())) << name(t);
    EXPECT_EQ(to(amax(abs(narrow(r.grads[1], 2, 1, 1))), DType::f64).item(), 0);
  }
}

TEST_F(CudaAttention, GroupsOfHeadsAndScales) {
  for (const DType t : types)
    for (const std::int64_t k : {1, 2, 3, 6})
      for (const bool causal : {false, true})
        expect_right({{2, 6, 150, 64}, {2, k, 200, 64}, {2, k, 200, 64}, {.causal = causal}}, t);
  for (const double scale : {0., .3, -.5})
    expect_right({{1, 2, 90, 8}, {1, 2, 120, 8}, {1, 2, 120, 8}, {.causal = true, .scale = scale}},
                 DType::f16);
}

TEST_F(CudaAttention, ARowThatSeesNothingIsZero) {
  for (const DType t : types) {
    const Case c{{1, 1, 70, 32}, {1, 1, 90, 32}, {1, 1, 90, 32}};
    Tensor seen = ones({70, 90}, DType::boolean);
    narrow(seen, 0, 5, 60).fill_(0);
    Case masked = c;
    masked.options.mask = seen;
    expect_right(masked, t);
    std::vector<Tensor> x = draw(c, t);
    for (Tensor& v : x) v = to(v, gpu);
    const Results r = run(masked, {x[0], x[1], x[2]}, x[3]);
    for (const Tensor& v : {narrow(r.y, 2, 5, 60), narrow(r.grads[0], 2, 5, 60)})
      EXPECT_EQ(to(amax(abs(v)), DType::f64).item(), 0);
  }
}

TEST_F(CudaAttention, LogitsAreF32AndNaNStaysInItsRow) {
  const Tensor big = to(full({1, 1, 3, 64}, 300, DType::f16), gpu);
  EXPECT_NEAR(to(amax(abs(scaled_dot_product_attention(big, big, big))), DType::f64).item(), 300, 0);
  for (const DType t : types)
    for (const double odd : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      Tensor q = ones({1, 1, 70, 16}, t);
      narrow(q, 2, 3, 1).fill_(odd);
      const Tensor y = scaled_dot_product_attention(to(q, gpu), to(ones({1, 1, 90, 16}, t), gpu),
                                                    to(ones({1, 1, 90, 16}, t), gpu));
      const auto v = to(to(select(y, -1, 0), Device::cpu()), DType::f64).to_vector<double>();
      for (std::size_t i = 0; i < v.size(); ++i) EXPECT_EQ(std::isnan(v[i]), i == 3) << name(t) << ' ' << i;
    }
}

TEST_F(CudaAttention, TheSameBitsAtEachRun) {
  for (const DType t : types)
    for (const std::int64_t d : {64, 128}) {
      const Case c{{2, 4, 700, d}, {2, 2, 900, d}, {2, 2, 900, d}, {.causal = true}};
      std::vector<Tensor> x = draw(c, t);
      for (Tensor& v : x) v = to(v, gpu);
      const auto bits = [&] {
        const Results r = run(c, {x[0], x[1], x[2]}, x[3]);
        std::vector<double> all;
        for (const Tensor& v : {r.y, r.grads[0], r.grads[1], r.grads[2]})
          for (const double w : to(to(v, Device::cpu()), DType::f64).to_vector<double>()) all.push_back(w);
        return all;
      };
      const auto first = bits();
      for (int i = 0; i < 20; ++i) EXPECT_EQ(bits(), first) << name(t) << ' ' << d;
    }
}

TEST_F(CudaAttention, ACapturedStepGivesTheBitsOfTheEagerOne) {
  const auto steps = [&](bool captured) {
    manual_seed(5);
    Tensor last = zeros({1, 2, 70, 16}, DType::bf16, gpu);
    std::vector<double> all;
    const auto step = [&] {
      const Tensor q = randn({1, 2, 70, 16}, DType::bf16, gpu).set_requires_grad();
      const Tensor y = scaled_dot_product_attention(q, q, q, {.causal = true});
      last.copy_(grad(y, {q}, q.detach())[0]);
    };
    Captured replay = capture(step);
    for (int i = 0; i < 5; ++i) {
      captured ? replay() : step();
      for (const double v : to(to(last, Device::cpu()), DType::f64).to_vector<double>()) all.push_back(v);
    }
    return all;
  };
  EXPECT_EQ(steps(true), steps(false));
}

// The scores of 8192 queries and keys are 256 MiB; each operand is 1 MiB.
TEST_F(CudaAttention, MemoryIsLinearInTheLengths) {
  const Case c{{1, 1, 8192, 64}, {1, 1, 8192, 64}, {1, 1, 8192, 64}, {.causal = true}};
  std::vector<Tensor> x = draw(c, DType::bf16);
  for (Tensor& v : x) v = to(v, gpu);
  const std::int64_t live = allocator(gpu).stats().bytes_live;
  allocator(gpu).reset_peak();
  run(c, {x[0], x[1], x[2]}, x[3]);
  EXPECT_LE(allocator(gpu).stats().bytes_peak - live, 8 << 20);
}
