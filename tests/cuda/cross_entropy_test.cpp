// Tests cross-entropy on a GPU against float64 results of the CPU: losses, gradients of all orders, saved
// tensors and reported faults.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

using CudaCrossEntropy = SeededCuda<11>;

Tensor on_gpu(const Tensor& x) { return x ? to(x.detach(), gpu) : x; }
Tensor exact(const Tensor& x) { return x && is_floating(x.dtype()) ? to(x.detach(), DType::f64) : x; }
CrossEntropyOptions with_weight(CrossEntropyOptions o, const Tensor& w) {
  o.weight = w;
  return o;
}

// The relative error that one operation's result may have in a dtype: a few ULP of f32, and the final
// rounding.
double relative(DType t) {
  switch (t) {
    case DType::f64:
      return 0x1p-42;  // the CPU adds weights in order
    case DType::bf16:
      return 0x1p-8;
    case DType::f16:
      return 0x1p-10;
    default:
      return 0x1p-21;  // at most 4 ULP
  }
}
double least(DType t) { return t == DType::f16 ? 0x1p-24 : t == DType::f64 ? 1e-300 : 0x1p-133; }

// Checks |got - want| <= tolerance elementwise; where terms cancel, the error is relative to `cancelled`.
void expect_close(const Tensor& got, const Tensor& want, DType t, const std::vector<double>& cancelled,
                  std::string_view what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto g = got.to_vector<double>(), w = want.to_vector<double>();
  const double small = t == DType::f64 ? 0x1p-38 : 0x1p-19;  // the CPU sums targets in order
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (std::isnan(w[i]) ? std::isnan(g[i]) : g[i] == w[i]) continue;
    const double error = std::abs(g[i] - w[i]);
    ASSERT_TRUE(error <= relative(t) * std::abs(w[i]) + small * cancelled[i] + least(t))
        << what << ": element " << i << " is " << g[i] << ", not " << w[i];
  }
}

struct Case {
  Shape logits;
  DType dtype = DType::f32;
  CrossEntropyOptions options = {};
  bool weighted = false, probabilities = false;
  double ignored = 0;  // fraction of the rows
};

std::string name(const Case& c) {
  std::ostringstream s;
  s << TensorSpec{c.logits, c.dtype, gpu} << " reduction " << static_cast<int>(c.options.reduction)
    << (c.weighted ? " weighted" : "") << (c.probabilities ? " probabilities" : "") << " smoothing "
    << c.options.label_smoothing << " ignored " << c.ignored;
  return s.str();
}

struct Data {
  Tensor x, target, weight;
};

Data draw(const Case& c) {
  const int axis = c.logits.size() == 1 ? 0 : 1;
  const std::int64_t classes = c.logits[axis];
  Data d;
  d.x = to(randn(c.logits, DType::f64) * 3, c.dtype);
  if (c.weighted) d.weight = to(uniform({classes}, 0.5, 2, DType::f64), c.dtype);
  if (c.probabilities) {
    d.target = to(softmax(randn(c.logits, DType::f64), axis), c.dtype);
    return d;
  }
  Shape rows = c.logits;
  rows.erase(axis);
  d.target = randint(0, classes, rows);
  if (c.ignored > 0)
    d.target = where(lt(uniform(rows, 0, 1, DType::f64), scalar(c.ignored, randn({1}, DType::f64))),
                     full(rows, -100, DType::i64), d.target);
  return d;
}

// The size of the terms whose difference is a row's gradient: its cotangent times its largest coefficient.
std::vector<double> cancelled(const Case& c, const Data& d, double cotangent) {
  double divisor = 1;
  const std::int64_t classes = d.x.size(c.logits.size() == 1 ? 0 : 1);
  if (c.options.reduction == Reduction::mean) {
    divisor = 0;
    const auto w = d.weight ? d.weight.to_vector<double>() : std::vector<double>();
    if (c.probabilities)
      divisor = static_cast<double>(d.x.numel() / classes);
    else
      for (const std::int64_t t : d.target.to_vector<std::int64_t>())
        if (t != -100) divisor += w.empty() ? 1 : w[static_cast<std::size_t>(t)];
  }
  const double up = divisor == 0 ? 0 : cotangent / divisor * (d.weight ? 2 : 1);
  std::vector<double> p = softmax(exact(d.x), c.logits.size() == 1 ? 0 : 1).to_vector<double>();
  for (double& v : p) v *= up;
  return p;
}

enum class Cotangent { unit, given, twice };

// The loss and the gradient of the logits on both devices.
void check(const Case& c, Cotangent cotangent = Cotangent::unit) {
  const Data d = draw(c);
  const Tensor x = on_gpu(d.x).set_requires_grad(), reference = exact(d.x).set_requires_grad();
  const Tensor loss = cross_entropy(x, on_gpu(d.target), with_weight(c.options, on_gpu(d.weight)));
  const Tensor want = cross_entropy(reference, exact(d.target), with_weight(c.options, exact(d.weight)));
  ASSERT_EQ(loss.dtype(), c.dtype);
  expect_close(loss, want, c.dtype, std::vector<double>(static_cast<std::size_t>(want.numel()), 0.25),
               name(c) + ", loss");
  const Tensor unrecorded =
      cross_entropy(x.detach(), on_gpu(d.target), with_weight(c.options, on_gpu(d.weight)));
  expect_close(unrecorded, want, c.dtype, std::vector<double>(static_cast<std::size_t>(want.numel()), 0.25),
               name(c) + ", loss alone");
  double size = 1;
  if (cotangent == Cotangent::twice) {
    backward(sum(loss * 2));
    backward(sum(want * 2));
    size = 2;
  } else if (cotangent == Cotangent::given || loss.numel() != 1) {
    const Tensor g = to(randn(want.shape(), DType::f64), c.dtype);
    backward(loss, on_gpu(g));
    backward(want, exact(g));
    for (const double v : g.to_vector<double>()) size = std::max(size, std::abs(v));
  } else {
    backward(loss);
    backward(want);
  }
  expect_close(x.grad(), reference.grad(), c.dtype, cancelled(c, d, size), name(c) + ", gradient");
}

TEST_F(CudaCrossEntropy, EveryRowLength) {
  for (const std::int64_t n : {1, 3, 17, 128})
    for (const std::int64_t classes : {1, 2, 10, 33, 257, 1000, 5000, 50257}) check({{n, classes}});
}

TEST_F(CudaCrossEntropy, EveryDtypeAndReduction) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const Reduction r : {Reduction::mean, Reduction::sum, Reduction::none})
      for (const std::int64_t classes : {1, 10, 257, 1000, 5000, 50257}) {
        check({{17, classes}, t, {.reduction = r}});
        check({{3, classes}, t, {.reduction = r}}, Cotangent::given);
      }
}

TEST_F(CudaCrossEntropy, EveryKindOfTarget) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (const Reduction r : {Reduction::mean, Reduction::sum, Reduction::none})
      for (const std::int64_t classes : {1, 2, 33, 1000, 5003, 50257})
        for (const bool weighted : {false, true})
          for (const double smoothing : {0.0, 0.1, 1.0}) {
            const CrossEntropyOptions o{.label_smoothing = smoothing, .reduction = r};
            check({{9, classes}, t, o, weighted, false, 0.3});
            check({{4, classes}, t, o, weighted, true});
          }
}

TEST_F(CudaCrossEntropy, ManyRows) {
  for (const std::int64_t classes : {1, 3, 10, 100})
    for (const double ignored : {0.0, 0.2})
      check({{100'003, classes}, DType::f32, {}, false, false, ignored});
  check({{100'003, 10}, DType::f32, {}, true, false, 0.2});
  check({{100'003, 10}, DType::bf16, {.reduction = Reduction::sum}});
}

// Enough rows that each warp copies several rows together through shared memory; the last warp has fewer.
TEST_F(CudaCrossEntropy, ManyShortRows) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const std::int64_t classes : {2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256})
      for (const double smoothing : {0.0, 0.1}) {
        check({{3001, classes}, t, {.label_smoothing = smoothing}, false, false, 0.3});
        check({{3001, classes}, t, {.label_smoothing = smoothing, .reduction = Reduction::none}});
      }
}

TEST_F(CudaCrossEntropy, OtherAxes) {
  for (const Shape& s : {Shape{5}, Shape{50'257}, Shape{2, 3, 4}, Shape{2, 21, 37, 5}, Shape{1, 1000, 2},
                         Shape{3, 5000, 1}, Shape{300, 2, 33}, Shape{2, 1, 7}, Shape{1, 50'257, 3}})
    for (const DType t : {DType::f64, DType::f32, DType::f16})
      for (const bool probabilities : {false, true}) {
        check({s, t, {}, false, probabilities, 0});
        check({s, t, {.label_smoothing = 0.1}, true, probabilities, 0}, Cotangent::given);
        check({s, t, {.reduction = Reduction::none}, true, probabilities, 0});
      }
}

TEST_F(CudaCrossEntropy, EveryCotangent) {
  for (const bool probabilities : {false, true}) {
    const Case c{{17, 257}, DType::f32, {}, false, probabilities};
    check(c, Cotangent::unit);
    check(c, Cotangent::given);
    check(c, Cotangent::twice);
  }
  check({{128, 1000}, DType::bf16}, Cotangent::twice);
}

TEST_F(CudaCrossEntropy, RowsThatStartAnywhere) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16})
    for (std::int64_t offset = 0; offset < 9; ++offset)
      for (const std::int64_t classes : {7, 64, 1023, 8193, 50'257}) {
        const Tensor flat = to(randn({offset + 3 * classes}, DType::f64), t);
        const auto view = [&](const Tensor& whole) {
          return reshape(narrow(whole, 0, offset, 3 * classes), {3, classes});
        };
        const Tensor leaf = on_gpu(flat).set_requires_grad(), reference = exact(flat).set_requires_grad();
        const Tensor target = randint(0, classes, {3});
        const Tensor loss = cross_entropy(view(leaf), on_gpu(target));
        const Tensor want = cross_entropy(view(reference), target);
        expect_close(loss, want, t, {0.25}, "loss");
        backward(loss);
        backward(want);
        std::vector<double> all(static_cast<std::size_t>(flat.numel()), 0.05);
        expect_close(leaf.grad(), reference.grad(), t, all, "gradient");
      }
}

TEST_F(CudaCrossEntropy, StridedInputs) {
  const Tensor x = randn({40, 12}, DType::f64), target = randint(0, 40, {12});
  const Tensor leaf = on_gpu(x).set_requires_grad(), reference = exact(x).set_requires_grad();
  const auto run = [](const Tensor& l, const Tensor& t) {
    const Tensor loss = cross_entropy(transpose(l), t, {.reduction = Reduction::none});
    backward(loss, expand(full({1}, 0.5, DType::f64, l.device()), {12}));
    return loss;
  };
  const Tensor loss = run(leaf, on_gpu(target)), want = run(reference, target);
  expect_close(loss, want, DType::f64, std::vector<double>(12, 1), "loss");
  expect_close(leaf.grad(), reference.grad(), DType::f64, std::vector<double>(480, 1), "gradient");
}

TEST_F(CudaCrossEntropy, EmptyAndAllIgnored) {
  const CrossEntropyOptions sum{.reduction = Reduction::sum}, none{.reduction = Reduction::none};
  const Tensor nothing = empty({0, 3}, DType::f32, gpu).set_requires_grad();
  const Tensor no_targets = empty({0}, DType::i64, gpu);
  EXPECT_EQ(cross_entropy(nothing, no_targets, sum).item(), 0);
  EXPECT_TRUE(std::isnan(cross_entropy(nothing, no_targets).item()));
  EXPECT_EQ(cross_entropy(nothing, no_targets, none).numel(), 0);
  backward(cross_entropy(nothing, no_targets, sum));
  EXPECT_EQ(nothing.grad().shape(), (Shape{0, 3}));

  const Tensor x = on_gpu(randn({5, 7})).set_requires_grad(), ignored = full({5}, -100, DType::i64, gpu);
  EXPECT_TRUE(std::isnan(cross_entropy(x, ignored).item()));
  EXPECT_EQ(cross_entropy(x, ignored, sum).item(), 0);
  backward(cross_entropy(x, ignored));
  for (const float g : x.grad().to_vector<float>()) EXPECT_EQ(g, 0);
  EXPECT_EQ(cross_entropy(x, full({5}, 3, DType::i64, gpu), {.ignore_index = 3, .reduction = Reduction::sum})
                .item(),
            0);
}

TEST_F(CudaCrossEntropy, IgnoredRowsGetExactlyNoGradient) {
  const Tensor x = on_gpu(tensor({{inf, 1, 2}, {0, 1, 2}})).set_requires_grad();
  backward(cross_entropy(x, to(tensor({-100, 1}, DType::i64), gpu)));
  for (int c = 0; c < 3; ++c) EXPECT_EQ(to(x.grad(), Device::cpu()).at({0, c}), 0);

  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::int64_t classes : {4, 8, 16, 64, 256}) {  // many rows, every second one ignored
    Tensor rows = randn({2, 1500, classes}), target = randint(0, classes, {2, 1500});
    narrow(narrow(rows, 0, 0, 1), 2, classes / 2, 1).fill_(nan);
    narrow(narrow(rows, 0, 0, 1), 2, 1, 1).fill_(inf);
    narrow(target, 0, 0, 1).fill_(-100);
    const Tensor many = on_gpu(reshape(transpose(rows, 0, 1), {3000, classes})).set_requires_grad();
    backward(cross_entropy(many, on_gpu(reshape(transpose(target, 0, 1), {3000}))));
    const auto g = many.grad().to_vector<float>();
    for (std::size_t i = 0; i < g.size(); ++i) {
      const bool ignored = i / static_cast<std::size_t>(classes) % 2 == 0;
      ASSERT_TRUE(ignored ? g[i] == 0 : std::isfinite(g[i])) << "element " << i << " is " << g[i];
    }
  }
}

TEST_F(CudaCrossEntropy, InfiniteLogitsAndNaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor values = tensor({{nan, 1, 2},
                                {0, nan, 2},
                                {-inf, 1, 2},
                                {-inf, 1, 2},
                                {-inf, -inf, -inf},
                                {inf, 1, 2},
                                {17.5, 0, -inf},
                                {1e4, 0, 1e4}});
  const Tensor target = tensor({1, 1, 1, 0, 1, 0, 0, 1}, DType::i64);
  const auto check = [&](std::int64_t masked, std::int64_t times) {
    for (const double smoothing : {0.0, 0.2}) {
      const CrossEntropyOptions o{.label_smoothing = smoothing, .reduction = Reduction::none};
      const Tensor once = concat({values, full({8, masked}, -inf)}, 1);
      const Tensor rows = reshape(expand(once, {times, 8, once.size(1)}), {8 * times, once.size(1)});
      const Tensor classes = reshape(expand(target, {times, 8}), {8 * times});
      const Tensor x = on_gpu(rows).set_requires_grad(), reference = exact(rows).set_requires_grad();
      const Tensor loss = cross_entropy(x, on_gpu(classes), o), want = cross_entropy(reference, classes, o);
      const auto count = static_cast<std::size_t>(8 * times),
                 elements = static_cast<std::size_t>(rows.numel());
      expect_close(loss, want, DType::f32, std::vector<double>(count, 0), "loss");
      backward(loss, ones_like(loss));
      backward(want, ones_like(want));
      expect_close(x.grad(), reference.grad(), DType::f32, std::vector<double>(elements, 0.1), "gradient");
    }
  };
  for (const std::int64_t masked : {0, 5000}) check(masked, 1);
  for (const std::int64_t masked : {1, 5, 13, 29, 61}) check(masked, 400);
}

TEST_F(CudaCrossEntropy, OneClassHasNoGradient) {
  const Tensor x = on_gpu(randn({33, 1})).set_requires_grad();
  const Tensor loss =
      cross_entropy(x, zeros({33}, DType::i64, gpu), {.weight = full({1}, 0.3, DType::f32, gpu)});
  EXPECT_EQ(loss.item(), 0);
  backward(loss);
  for (const float g : x.grad().to_vector<float>()) EXPECT_EQ(g, 0);
}

TEST_F(CudaCrossEntropy, ARetainedTapeGivesGradientsOfTheirOwn) {
  const Tensor x = on_gpu(randn({8, 10})).set_requires_grad(), t = on_gpu(randint(0, 10, {8}));
  const Tensor loss = cross_entropy(x, t);
  backward(loss, Retain::yes);
  const auto first = x.grad().to_vector<float>();
  x.grad().fill_(7);
  Tensor leaf = x;
  leaf.set_grad({});
  backward(loss, Retain::yes);
  EXPECT_EQ(x.grad().to_vector<float>(), first);
  backward(loss);
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(x.grad().to_vector<float>()[i], 2 * first[i]);
  EXPECT_THROW(backward(loss), GradError);
}

TEST_F(CudaCrossEntropy, AHookThatReplacesTheStartIsHeard) {
  const Tensor x = on_gpu(randn({8, 10})).set_requires_grad(), t = on_gpu(randint(0, 10, {8}));
  backward(cross_entropy(x, t));
  const auto once = x.grad().to_vector<float>();
  Tensor leaf = x;
  leaf.set_grad({});
  Tensor loss = cross_entropy(x, t);
  loss.register_hook([](const Tensor& g) { return g * 4; });
  backward(loss);
  const auto four = x.grad().to_vector<float>();
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(four[i], 4 * once[i], 1e-6);
}

TEST_F(CudaCrossEntropy, TheGradientIsTakenFromTheForwardPassWithoutACopy) {
  const Tensor x = on_gpu(randn({64, 1000})).set_requires_grad(), t = on_gpu(randint(0, 1000, {64}));
  const Tensor loss = cross_entropy(x, t);
  ASSERT_EQ(loss.node()->aux.size(), 1u);
  const void* kept = loss.node()->aux[0].tensor.raw();
  backward(loss);
  EXPECT_EQ(x.grad().raw(), kept);
  EXPECT_TRUE(cross_entropy(to(x.detach(), Device::cpu()).set_requires_grad(), to(t, Device::cpu()))
                  .node()
                  ->aux.empty());
  const Tensor p = softmax(on_gpu(randn({64, 1000}))).detach().set_requires_grad();
  EXPECT_TRUE(cross_entropy(x.detach(), p).node()->aux.empty());
}

TEST_F(CudaCrossEntropy, ProbabilitiesAndSecondDerivatives) {
  const CrossEntropyOptions o{.label_smoothing = 0.1};
  const Tensor x0 = randn({6, 9}, DType::f64), r = randn({6, 9}, DType::f64);
  const auto run = [&](Device d, bool probabilities) {
    const Tensor x = to(x0, d).detach().set_requires_grad();
    Tensor t = to(probabilities ? softmax(r * 2, 1) : tensor({0, 4, 2, 3, 1, 0}, DType::i64), d).detach();
    if (probabilities) t.set_requires_grad();
    const Tensor loss = cross_entropy(x, t, o);
    const auto g = grad(loss, {x}, {}, CreateGraph::yes)[0];
    const Tensor mixed = sum(square(g) * to(r, d));
    return probabilities ? grad(mixed, {x, t}) : grad(mixed, {x});
  };
  for (const bool probabilities : {false, true}) {
    const auto got = run(gpu, probabilities), want = run(Device::cpu(), probabilities);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      expect_close(got[i], want[i], DType::f64, std::vector<double>(54, 1), "second derivative");
  }
}

TEST_F(CudaCrossEntropy, AClassOutOfRangeIsReportedAndTheDeviceGoesOn) {
  for (const Shape& s : {Shape{4, 3}, Shape{1, 3, 4}, Shape{4, 3000}})
    for (const bool recorded : {false, true}) {
      Tensor x = on_gpu(randn(s));
      if (recorded) x.set_requires_grad();
      Shape rows = s;
      rows.erase(1);
      const std::string classes = std::to_string(s[1]);
      const Tensor bad = to(reshape(tensor({0, 1, static_cast<double>(s[1]), -1}, DType::i64), rows), gpu);
      const auto message = [&](auto&& f) -> std::string {
        try {
          f();
        } catch (const IndexError& e) {
          return e.what();
        }
        return "nothing";
      };
      const std::string expected =
          "cross_entropy: class " + classes + " at flat position 2 is outside [0," + classes + ")";
      EXPECT_EQ(message([&] { cross_entropy(x, bad).item(); }), expected);
      EXPECT_EQ(message([&] {
                  const Tensor loss = cross_entropy(x, bad, {.reduction = Reduction::sum});
                  synchronize(gpu);
                }),
                expected);
      const Tensor good = zeros(rows, DType::i64, gpu);
      const Tensor want = cross_entropy(to(x.detach(), Device::cpu()), zeros(rows, DType::i64));
      EXPECT_NEAR(cross_entropy(x, good).item(), want.item(), 1e-5);
    }
}

TEST_F(CudaCrossEntropy, TwoRunsAgreeToTheBitAndNothingWaits) {
  for (const Shape& s :
       {Shape{1000, 10}, Shape{4096, 100}, Shape{100, 5000}, Shape{5, 130'000}, Shape{3, 40, 99}}) {
    const Tensor x0 = on_gpu(randn(s));
    Shape rows = s;
    rows.erase(1);
    const Tensor t = on_gpu(randint(0, s[1], rows)), w = on_gpu(uniform({s[1]}, 0.5, 2));
    const auto run = [&](const CrossEntropyOptions& o) {
      const Tensor x = x0.detach().set_requires_grad();
      const std::int64_t before = synchronizations();
      const Tensor loss = cross_entropy(x, t, o);
      backward(loss * 3);
      Tensor leaf = x;
      const Tensor scaled = x.grad();
      leaf.set_grad({});
      backward(cross_entropy(x, t, o));
      EXPECT_EQ(synchronizations(), before);
      auto all = scaled.to_vector<float>();
      for (const float g : x.grad().to_vector<float>()) all.push_back(g);
      all.push_back(loss.item<float>());
      return all;
    };
    EXPECT_EQ(run({}), run({}));
    EXPECT_EQ(run({.weight = w, .label_smoothing = 0.1}), run({.weight = w, .label_smoothing = 0.1}));
  }
}

TEST_F(CudaCrossEntropy, StreamsDoNotDisturbEachOther) {
  const Tensor x = on_gpu(randn({100'003, 10})), t = on_gpu(randint(0, 10, {100'003}));
  const float want = cross_entropy(x, t).item<float>();
  const Stream streams[2] = {Stream(gpu), Stream(gpu)};
  std::vector<Tensor> losses[2];
  for (int i = 0; i < 50; ++i)
    for (int k = 0; k < 2; ++k) {
      const StreamScope scope(streams[k]);
      losses[k].push_back(cross_entropy(x, t));
    }
  for (int k = 0; k < 2; ++k) {
    const StreamScope scope(streams[k]);
    for (const Tensor& loss : losses[k]) EXPECT_EQ(loss.item<float>(), want);
  }
}

}  // namespace
