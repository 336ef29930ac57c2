// Every operation of the catalogue on a GPU, by its samples, against the float64 results of the CPU on the
// same input bits: fresh random inputs, outputs poisoned, guard bands around every block.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <optional>

#include "autograd/gradcheck/oracles/layout.h"
#include "tests/cuda/tolerance.h"
#include "tests/ops/samples_of.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

const Device gpu = Device::cuda(), cpu = Device::cpu();

constexpr std::uint64_t seed = 21;

// None without a GPU: CudaCatalog says why.
std::vector<Case> gpu_cases(bool (*wanted)(const OpInfo&, const Sample&)) {
  return cuda_available() ? cases(seed, wanted) : std::vector<Case>();
}

bool finite(const Tensor& x) {
  const auto v = x.to_vector<double>();
  return std::ranges::all_of(v, [](double e) { return std::isfinite(e); });
}
bool has_derivative(const OpInfo& op, const Sample& s) {
  return s.throws.empty() && op.differentiable &&
         std::ranges::all_of(s.inputs, [](const Tensor& x) { return !x || finite(x); });
}

Tensor on_gpu(const Tensor& x) { return to(x, gpu); }
Tensor as(DType d, const Tensor& x) { return is_floating(x.dtype()) ? to(x, d) : x; }
Tensor exact(const Tensor& x) { return as(DType::f64, x); }

Tensor strided(const Tensor& x) {
  return gradcheck_detail::laid_out(on_gpu(x), gradcheck_detail::Layout::strided);
}

// The call on these inputs; nothing where the sample brings CPU tensors of its own, which
// MostSamplesRunOnAGpu counts.
std::optional<Tensor> call(const Sample& s, const Tensors& x) {
  try {
    return s.call(x);
  } catch (const DeviceError& e) {
    if (std::string_view(e.what()).find("tensors must be on one device") == std::string_view::npos) throw;
    return {};
  }
}

// Whether the CPU takes these inputs: some samples bring f64 tensors of their own.
bool taken(const Sample& s, const Tensors& x) {
  try {
    s.call(x);
    return true;
  } catch (const DTypeError&) {
  } catch (const ShapeError&) {
  }
  return false;
}

std::vector<DType> dtypes_of(const Sample& s) {
  for (auto& x : s.inputs)
    if (x && is_floating(x.dtype())) return {DType::f64, DType::f32, DType::bf16, DType::f16};
  return {DType::f64};
}

class OnCuda : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    damaged_ = damaged_guards();
    poison_allocations(true);
    guard_allocations(true);
  }
  void TearDown() override {
    guard_allocations(false);
    poison_allocations(false);
    EXPECT_EQ(damaged_guards(), damaged_) << "a kernel wrote outside its tensor";
  }

 private:
  std::int64_t damaged_ = 0;
};
using CudaSample = OnCuda;
using CudaInvalidSample = OnCuda;
using CudaGradient = OnCuda;

TEST_P(CudaSample, AgreesWithF64OnTheCpu) {
  const Sample s = sample_of(GetParam());
  for (const DType dtype : dtypes_of(s)) {
    SCOPED_TRACE(name(dtype));
    const auto given = mapped(s.inputs, [&](const Tensor& x) { return as(dtype, x); });
    if (!taken(s, given)) continue;
    const auto x = mapped(given, on_gpu);
    const auto got = call(s, x);
    if (!got) return;
    EXPECT_EQ(got->device(), gpu);

    const auto widened = mapped(given, exact);
    const Tensor want = s.call(widened);
    const Bound bound = is_floating(got->dtype()) ? bound_of(GetParam().op.name) : Bound{0};
    const Tolerance close(bound, widened, want, got->dtype(), s.call);
    expect_close("contiguous", *got, want, close);
    expect_close("strided", *call(s, mapped(given, strided)), want, close);
    expect_same("a second run", *call(s, x), *got);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i]) expect_same("an input afterwards", x[i], given[i]);
  }
}

TEST_P(CudaSample, NothingWaits) {
  const Sample s = sample_of(GetParam());
  if (GetParam().op.name == "to_device") return;  // copies to the host wait
  guard_allocations(false);                       // looking at guards waits
  const auto x = mapped(s.inputs, [](const Tensor& t) {
    Tensor there = on_gpu(t);
    return is_floating(t.dtype()) ? there.set_requires_grad() : there;
  });
  call(s, x);  // what is made once may wait
  const auto before = synchronizations();
  const auto y = call(s, x);
  if (!y) return;
  if (y->requires_grad()) backward(*y, ones_like(y->detach()));
  EXPECT_EQ(synchronizations(), before);
}

// An index out of range is reported when the host next waits, by the operation that met it.
TEST_P(CudaInvalidSample, ThrowsTheMessageOfTheCpu) {
  const Sample s = sample_of(GetParam());
  const auto x = mapped(s.inputs, on_gpu);
  std::string message = "nothing was thrown";
  try {
    if (const auto y = call(s, x))
      y->to_vector<double>();
    else
      return;
  } catch (const Error& e) {
    message = e.what();
  }
  for (std::size_t at; (at = message.find("@cuda:0")) != std::string::npos;) message.erase(at, 7);
  if (message.empty() || !s.throws.ends_with(": " + message)) {
    EXPECT_EQ(message, s.throws);
  }
  EXPECT_NO_THROW(synchronize(gpu)) << "one report a fault";
  for (std::size_t i = 0; i < x.size(); ++i)
    if (x[i]) expect_same("an input afterwards", x[i], s.inputs[i]);
}

// Both devices in f64: the derivative and, where the CPU's is checked against differences, the derivative of
// that.
TEST_P(CudaGradient, AgreesWithTheCpu) {
  const Sample s = sample_of(GetParam());
  const auto leaves = [&](Device d) {
    return mapped(s.inputs, [&](const Tensor& x) {
      Tensor leaf = clone(to(x, d));
      return is_floating(x.dtype()) ? leaf.set_requires_grad() : leaf;
    });
  };
  const Tensors here = leaves(cpu), there = leaves(gpu);
  const Tensor y = s.call(here);
  double scale = 0;
  for (auto& x : here)
    if (x && x.requires_grad()) scale = std::max(scale, largest(x));
  const auto z = call(s, there);
  if (!z) return;
  ASSERT_EQ(z->requires_grad(), y.requires_grad());
  if (!y.requires_grad()) return;

  const auto close_to = [&](const Tensor& want, double relative) {
    const double most = std::max(scale, largest(want));
    return [=](std::size_t, double a, double b) {
      return a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= relative * (std::abs(b) + most);
    };
  };
  Tensors xs, ws;
  for (std::size_t i = 0; i < here.size(); ++i)
    if (here[i] && here[i].requires_grad()) xs.push_back(here[i]), ws.push_back(there[i]);
  const Tensor c = uniform(y.shape(), -1.5, 1.5, y.dtype());
  backward(y, c, Retain::yes);
  backward(*z, on_gpu(c), Retain::yes);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    ASSERT_EQ(bool(ws[i].grad()), bool(xs[i].grad())) << "of floating input " << i;
    if (!xs[i].grad()) continue;
    EXPECT_EQ(ws[i].grad().device(), gpu);
    expect_close("gradient of floating input " + std::to_string(i), ws[i].grad(), xs[i].grad(),
                 close_to(xs[i].grad(), 1e-12));
  }
  if (!s.differentiable) return;

  const auto g = grad(y, xs, c, CreateGraph::yes), h = grad(*z, ws, on_gpu(c), CreateGraph::yes);
  for (std::size_t i = 0; i < g.size(); ++i) {
    ASSERT_EQ(h[i].requires_grad(), g[i].requires_grad());
    if (!g[i].requires_grad()) continue;
    const Tensor c2 = uniform(g[i].shape(), -1.5, 1.5, DType::f64);
    const auto g2 = grad(g[i], xs, c2, CreateGraph::no, Retain::yes),
               h2 = grad(h[i], ws, on_gpu(c2), CreateGraph::no, Retain::yes);
    for (std::size_t j = 0; j < g2.size(); ++j)
      expect_close("second derivative " + std::to_string(i) + ", " + std::to_string(j), h2[j], g2[j],
                   close_to(g2[j], 1e-11));
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaSample);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaInvalidSample);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaGradient);
INSTANTIATE_TEST_SUITE_P(Catalog, CudaSample, testing::ValuesIn(gpu_cases(valid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, CudaInvalidSample, testing::ValuesIn(gpu_cases(is_invalid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, CudaGradient, testing::ValuesIn(gpu_cases(has_derivative)), label_of);

TEST(CudaCatalog, HasAKernelForEveryOperation) {
  for (auto& op : all_ops()) EXPECT_TRUE(op.has_cuda) << op.name;
}

// A sample that brings CPU tensors of its own cannot run on a GPU: few may.
TEST(CudaCatalog, MostSamplesRunOnAGpu) {
  std::string why;
  if (!cuda_available(&why)) GTEST_SKIP() << why;
  for (auto& op : all_ops()) {
    std::size_t all = 0, skipped = 0;
    for (auto& s : samples_of(op, seed)) {
      if (!s.throws.empty()) continue;
      ++all;
      if (call(s, mapped(s.inputs, on_gpu))) continue;
      ++skipped;
      std::cout << op.name << ", " << s.note << ": brings CPU tensors of its own\n";
    }
    EXPECT_LE(skipped * 4, all) << op.name;
  }
}

}  // namespace
