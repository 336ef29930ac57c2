// Every operation of the catalogue on a GPU, by its samples, against the float64 results of the CPU on the
// same input bits: fresh random inputs, outputs poisoned, guard bands around every block.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

using namespace bobbin;

namespace {

const Device gpu = Device::cuda();

struct Case {
  OpInfo op;
  std::size_t index;  // of the sample
  std::string label;
};

std::vector<Sample> samples_of(const OpInfo& op) {
  manual_seed(21);
  return op.samples ? op.samples() : std::vector<Sample>();
}

std::vector<Case> cases(bool (*wanted)(const OpInfo&, const Sample&)) {
  std::vector<Case> out;
  for (auto& op : all_ops()) {
    const auto samples = samples_of(op);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      if (!wanted(op, samples[i])) continue;
      std::string label = std::string(op.name) + "_" + samples[i].note;
      for (char& c : label)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      out.push_back({op, i, label + "_" + std::to_string(i)});
    }
  }
  return out;
}

bool valid(const OpInfo&, const Sample& s) { return s.throws.empty(); }
bool is_invalid(const OpInfo&, const Sample& s) { return !s.throws.empty(); }
bool differentiable(const OpInfo& op, const Sample& s) {
  return s.throws.empty() && op.differentiable && s.differentiable;
}

[[maybe_unused]] void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }
std::string label_of(const testing::TestParamInfo<Case>& info) { return info.param.label; }
Sample sample_of(const Case& c) { return samples_of(c.op)[c.index]; }

template<class F>
std::vector<Tensor> mapped(std::span<const Tensor> xs, F&& f) {
  std::vector<Tensor> out;
  for (auto& x : xs) out.push_back(x ? f(x) : x);
  return out;
}
Tensor on_gpu(const Tensor& x) { return to(x, gpu); }
Tensor as(DType d, const Tensor& x) { return is_floating(x.dtype()) ? to(x, d) : x; }

// The same elements on the GPU with gaps between them and the axes in reverse order in memory.
Tensor strided(const Tensor& x) {
  Shape shape;
  Axes order;
  for (int i = x.rank() - 1; i >= 0; --i) shape.push_back(x.shape()[i] * 2 + 1), order.push_back(i);
  Tensor y = permute(full(shape, 77, x.dtype(), gpu), order);
  for (int i = 0; i < x.rank(); ++i) y = slice(y, i, 1, y.shape()[i], 2);
  return y.copy_(x);
}

// Within `units` of the last place of a dtype of that unit, and `units` of the largest element besides: sums
// may cancel. NaN equals NaN.
void expect_close(const Tensor& got, const Tensor& want, double relative, double absolute) {
  ASSERT_EQ(got.shape(), want.shape());
  const auto x = got.to_vector<double>(), y = want.to_vector<double>();
  double largest = 0;
  for (double v : y)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if ((std::isnan(x[i]) && std::isnan(y[i])) || x[i] == y[i]) continue;
    EXPECT_LE(std::abs(x[i] - y[i]), relative * std::abs(y[i]) + absolute * largest)
        << "flat index " << i << ": " << x[i] << ", not " << y[i];
  }
}

// Of results in f32 and narrower types, in units of the last place; f64 is compared with another f64
// implementation, whose last places differ.
double units_of(std::string_view op, DType d) {
  static const std::map<std::string_view, double> more{{"pow", 16},
                                                       {"pow_scalar", 16},
                                                       {"gelu_erf", 64},
                                                       {"gelu_tanh", 64},
                                                       {"linear", 64},
                                                       {"matmul", 64},
                                                       {"var", 64},
                                                       {"std", 64},
                                                       {"norm", 16},
                                                       {"cross_entropy", 16},
                                                       {"cross_entropy_backward", 16},
                                                       {"nll_loss", 16},
                                                       {"softmax_backward", 16},
                                                       {"log_softmax_backward", 16}};
  const auto it = more.find(op);
  const double units = it == more.end() ? 8 : it->second;
  return d == DType::f64 ? 64 * units : units;
}

class OnCuda : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string why;
    if (!cuda_available(&why)) GTEST_SKIP() << why;
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
  for (const auto& [dtype, unit] : {std::pair{DType::f64, 0x1p-52},
                                    {DType::f32, 0x1p-23},
                                    {DType::bf16, 0x1p-8},
                                    {DType::f16, 0x1p-11}}) {
    SCOPED_TRACE(name(dtype));
    const auto narrow = mapped(s.inputs, [&](const Tensor& x) { return as(dtype, x); });
    const auto wide = mapped(narrow, [](const Tensor& x) { return as(DType::f64, x); });
    Tensor got, again, spread;
    try {
      const auto inputs = mapped(narrow, on_gpu), gaps = mapped(narrow, strided);
      got = s.call(inputs);
      again = s.call(inputs);
      spread = s.call(gaps);
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i]) {
          EXPECT_EQ(to_string(inputs[i] ? to(inputs[i], Device::cpu()) : inputs[i]), to_string(narrow[i]));
        }
    } catch (const Error& e) {  // the sample holds f64 or CPU tensors of its own
      if (dtype == DType::f64) GTEST_SKIP() << e.what();
      continue;
    }
    Tensor want = s.call(wide);
    if (is_floating(got.dtype())) want = to(to(want, got.dtype()), DType::f64);
    EXPECT_EQ(got.device(), gpu);
    const double units = units_of(GetParam().op.name, dtype) * unit;
    expect_close(got, want, units, units / 4);
    expect_close(spread, want, units, units / 4);
    EXPECT_EQ(to_string(again), to_string(got)) << "two runs differ";
  }
}

TEST_P(CudaInvalidSample, ThrowsTheMessageOfTheCpu) {
  const Sample s = sample_of(GetParam());
  std::string message = "nothing was thrown";
  try {
    s.call(mapped(s.inputs, on_gpu)).to_vector<double>();
  } catch (const Error& e) {
    message = e.what();
  }
  for (std::size_t at; (at = message.find("@cuda:0")) != std::string::npos;) message.erase(at, 7);
  if (message.starts_with(std::string(GetParam().op.name) + ": tensors must be on one device"))
    GTEST_SKIP() << "the sample holds CPU tensors of its own";
  EXPECT_EQ(message, s.throws);
  EXPECT_NO_THROW(synchronize(gpu)) << "one report a fault";
}

// Both devices in f64: the derivative, and the derivative of that.
TEST_P(CudaGradient, AgreesWithTheCpu) {
  const Sample s = sample_of(GetParam());
  const auto leaves = [&](auto&& move) {
    return mapped(s.inputs, [&](const Tensor& x) {
      const Tensor y = move(x);
      return is_floating(y.dtype()) ? y.detach().set_requires_grad() : y;
    });
  };
  const auto here = leaves([](const Tensor&x) { return x; }), there = leaves(on_gpu);
  Tensor y, z;
  try {
    z = s.call(there);
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  y = s.call(here);
  const Tensor c = uniform(y.shape(), 0.5, 1.5, y.dtype());
  backward(y, c, Retain::yes);
  backward(z, on_gpu(c), Retain::yes);
  std::vector<Tensor> xs, ws;
  for (std::size_t i = 0; i < here.size(); ++i) {
    if (!here[i] || !here[i].requires_grad()) continue;
    xs.push_back(here[i]);
    ws.push_back(there[i]);
    ASSERT_EQ(bool(there[i].grad()), bool(here[i].grad()));
    if (here[i].grad()) expect_close(there[i].grad(), here[i].grad(), 1e-12, 1e-12);
  }
  const auto g = grad(y, xs, c, CreateGraph::yes), h = grad(z, ws, on_gpu(c), CreateGraph::yes);
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (!g[i].requires_grad()) continue;
    const Tensor c2 = uniform(g[i].shape(), 0.5, 1.5, DType::f64);
    const auto g2 = grad(g[i], xs, c2, CreateGraph::no, Retain::yes),
               h2 = grad(h[i], ws, on_gpu(c2), CreateGraph::no, Retain::yes);
    for (std::size_t j = 0; j < g2.size(); ++j) expect_close(h2[j], g2[j], 1e-11, 1e-11);
  }
}

TEST_P(CudaGradient, NothingWaits) {
  const Sample s = sample_of(GetParam());
  guard_allocations(false);  // looking at guards waits
  const auto xs = mapped(s.inputs, [](const Tensor& x) {
    const Tensor y = on_gpu(x);
    return is_floating(y.dtype()) ? y.detach().set_requires_grad() : y;
  });
  const auto before = synchronizations();
  try {
    const Tensor y = s.call(xs);
    backward(y, ones_like(y.detach()));
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  EXPECT_EQ(synchronizations(), before);
}

INSTANTIATE_TEST_SUITE_P(Catalog, CudaSample, testing::ValuesIn(cases(valid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, CudaInvalidSample, testing::ValuesIn(cases(is_invalid)), label_of);
INSTANTIATE_TEST_SUITE_P(Catalog, CudaGradient, testing::ValuesIn(cases(differentiable)), label_of);

TEST(CudaCatalog, HasAKernelForEveryOperation) {
  for (auto& op : all_ops()) EXPECT_TRUE(op.has_cuda) << op.name;
}

}  // namespace
