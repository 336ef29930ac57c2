// Elementwise operations on a GPU over wide ranges of values, in all layouts: within some units in the last
// place of the CPU's result in f64 for the same input bits, and with the same bits in every layout.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/tolerance.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

const Device cpu = Device::cpu();

using CudaElementwise = SeededCuda<77, false>;

struct Op {
  const char* name;  // in the catalogue
  int inputs;
  std::function<Tensor(Inputs)> call;
};

const std::vector<Op>& ops() {
#define UNARY(f)                            \
  {                                         \
#f, 1, [](Inputs x) { return f(x[0]); } \
  }
#define BINARY(f)                                 \
  {                                               \
#f, 2, [](Inputs x) { return f(x[0], x[1]); } \
  }
  static const std::vector<Op> all{UNARY(neg),
                                   UNARY(abs),
                                   UNARY(sign),
                                   UNARY(exp),
                                   UNARY(expm1),
                                   UNARY(log),
                                   UNARY(log1p),
                                   UNARY(sqrt),
                                   UNARY(rsqrt),
                                   UNARY(square),
                                   UNARY(reciprocal),
                                   UNARY(sin),
                                   UNARY(cos),
                                   UNARY(tanh),
                                   UNARY(erf),
                                   UNARY(sigmoid),
                                   UNARY(relu),
                                   UNARY(leaky_relu),
                                   UNARY(elu),
                                   UNARY(silu),
                                   UNARY(softplus),
                                   BINARY(add),
                                   BINARY(sub),
                                   BINARY(mul),
                                   BINARY(div),
                                   BINARY(pow),
                                   BINARY(maximum),
                                   BINARY(minimum),
                                   {"gelu_erf", 1, [](Inputs x) { return gelu(x[0]); }},
                                   {"gelu_tanh", 1, [](Inputs x) { return gelu(x[0], Gelu::tanh); }},
                                   {"clamp", 1, [](Inputs x) { return clamp(x[0], -1.5, 2); }},
                                   {"pow_scalar", 1, [](Inputs x) { return pow(x[0], 1.7); }},
                                   {"where", 2, [](Inputs x) { return where(lt(x[0], x[1]), x[0], x[1]); }}};
#undef UNARY
#undef BINARY
  return all;
}

// Magnitudes from 2^-20 to 2^6 of either sign, and what is at the edges.
Tensor values(std::int64_t n, DType d) {
  const Tensor size = exp(rand({n}, DType::f64) * 18.02 - 13.86), sign = rand({n}, DType::f64);
  std::vector<double> v = where(lt(sign, full({n}, 0.5, DType::f64)), neg(size), size).to_vector<double>();
  const double inf = std::numeric_limits<double>::infinity();
  const double edges[] = {0, -0., inf, -inf, NAN, 1, -1, std::ldexp(1, format(d).least)};
  for (std::size_t i = 0; i < v.size() / 8 && i < 64; ++i) v[i * 7] = edges[i % 8];
  return to(from_range(v), d);
}

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

TEST_F(CudaElementwise, IsWithinItsUnitsInTheLastPlace) {
  for (const DType d : floating)
    for (const Op& op : ops())
      for (const std::int64_t n : {1, 5, 8191, 131075}) {
        Tensors x;
        for (int i = 0; i < op.inputs; ++i) x.push_back(values(n, d));
        const Tensors exact = mapped(x, [](const Tensor& t) { return to(t, DType::f64); });
        const Tensor got = op.call(mapped(x, [](const Tensor& t) { return to(t, gpu); }));
        ASSERT_EQ(got.dtype(), d) << op.name;
        const Tensor want = op.call(exact);
        expect_close(std::string(op.name) + " of " + std::to_string(n) + " " + std::string(name(d)),
                     to(got, cpu), want, Tolerance(bound_of(op.name), exact, want, d, op.call));
      }
}

// What the operation gives for operands of other layouts, made of the same elements.
TEST_F(CudaElementwise, DoesNotDependOnTheLayout) {
  using Layout = std::function<Tensor(const Tensor&)>;
  const std::pair<const char*, Layout> layouts[] = {
      {"off by one element",
       [](const Tensor& x) {
         const Tensor wide = zeros({x.numel() + 1}, x.dtype(), gpu);
         Tensor part = narrow(wide, 0, 1, x.numel());
         part.copy_(reshape(x, {x.numel()}));
         return reshape(part, x.shape());
       }},
      {"transposed", [](const Tensor& x) { return transpose(clone(transpose(x))); }},
      {"every third column", [](const Tensor& x) {
         const Tensor wide = zeros({x.size(0), 3 * x.size(1)}, x.dtype(), gpu);
         Tensor part = slice(wide, 1, 0, 3 * x.size(1), 3);
         part.copy_(x);
         return part;
       }}};
  for (const DType d : floating)
    for (const Op& op : ops()) {
      Tensors x;
      for (int i = 0; i < op.inputs; ++i) x.push_back(to(reshape(values(37 * 65, d), {37, 65}), gpu));
      const Tensor want = op.call(x);
      for (const auto& [what, layout] : layouts) {
        Tensors y = x;
        y.back() = layout(x.back());
        ASSERT_EQ(y.back().to_vector<double>().size(), x.back().to_vector<double>().size());
        expect_same(std::string(op.name) + " " + std::string(name(d)) + ", " + what, op.call(y), want);
      }
    }
}

TEST_F(CudaElementwise, BroadcastsAsExpandedCopiesDo) {
  for (const DType d : floating)
    for (const Op& op : ops()) {
      if (op.inputs != 2) continue;
      const Tensor x = to(reshape(values(33 * 70, d), {33, 70}), gpu);
      for (const Shape& shape : {Shape{70}, Shape{33, 1}, Shape{1}, Shape{}}) {
        const Tensor y = to(reshape(values(numel(shape), d), shape), gpu), whole = clone(expand(y, {33, 70}));
        expect_same(std::string(op.name) + " on the right", op.call(Tensors{x, y}),
                    op.call(Tensors{x, whole}));
        expect_same(std::string(op.name) + " on the left", op.call(Tensors{y, x}),
                    op.call(Tensors{whole, x}));
      }
    }
}

}  // namespace
