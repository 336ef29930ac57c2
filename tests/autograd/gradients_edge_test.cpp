// Clipping, the scaler and the schedules at their edges: norms beyond a dtype, every dtype and layout,
// numbers outside a domain, steps that fail.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/autograd/devices.h"

using namespace bobbin;
using tests::devices;
using tests::elements;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
const std::vector<DType> floating{DType::f64, DType::f32, DType::f16, DType::bf16};

Tensor with_gradient(const Tensor& g) {
  Tensor p = zeros_like(g).set_requires_grad();
  p.set_grad(g);
  return p;
}

// The relative distance of two neighbouring numbers.
double epsilon(DType t) {
  return t == DType::f64 ? 0x1p-52 : t == DType::f32 ? 0x1p-23 : t == DType::f16 ? 0x1p-10 : 0x1p-7;
}

// --- clip_grad_norm, clip_grad_value ---

TEST(ClipEdges, ANormBeyondItsDtypeIsClipped) {
  for (const Device d : devices())
    for (const auto& [t, x] :
         {std::pair{DType::f32, 1e38}, {DType::bf16, 0x1p126}, {DType::f16, 60000.}, {DType::f64, 1e150}}) {
      const Tensor p = with_gradient(full({16}, x, t, d));
      const double element = elements(p.grad())[0];
      EXPECT_NEAR(optim::clip_grad_norm({{p}}, 1).item() / (4 * element), 1, 1e-15) << t;
      for (const double g : elements(p.grad())) EXPECT_NEAR(g, .25, .25 * epsilon(t)) << t;
    }
}

// Squares of f64 leave its range: the norm is scaled.
TEST(ClipEdges, NormsAtTheEndsOfF64) {
  for (const Device d : devices())
    for (const double scale : {1e200, 1e-200, 1e300, 1e-300}) {
      const Tensor p = with_gradient(tensor({3 * scale, 4 * scale}, DType::f64, d)),
                   q = with_gradient(tensor({12 * scale}, DType::f64, d));
      EXPECT_NEAR(optim::clip_grad_norm({{p, q}}, scale).item() / (13 * scale), 1, 1e-15) << scale;
      EXPECT_NEAR(elements(p.grad())[0] / scale, 3. / 13, 1e-15) << scale;
      EXPECT_NEAR(elements(q.grad())[0] / scale, 12. / 13, 1e-15) << scale;
    }
}

TEST(ClipEdges, TinyNormsAndTinyLimits) {
  for (const Device d : devices())
    for (const DType t : {DType::f64, DType::f32}) {
      // At most the maximum: nothing changes, not by the last bit.
      for (const double norm : {1e-30, 1e-7, .7})
        for (const double most : {norm * 1.001, 1e3, inf}) {
          const Tensor p = with_gradient(full({1}, norm, t, d));
          const auto before = elements(p.grad());
          EXPECT_EQ(optim::clip_grad_norm({{p}}, most).item(), before[0]);
          EXPECT_EQ(elements(p.grad()), before);
        }
      // Above it: scaled to the maximum itself.
      for (const double most : {1e-30, 1e-7, 1e-3}) {
        const Tensor p = with_gradient(full({4}, 1, t, d));
        optim::clip_grad_norm({{p}}, most);
        for (const double g : elements(p.grad())) EXPECT_NEAR(g / most, .5, epsilon(t)) << most;
      }
      const Tensor none = with_gradient(zeros({3}, t, d));
      EXPECT_EQ(optim::clip_grad_norm({{none}}, 1).item(), 0);
      EXPECT_EQ(elements(none.grad()), std::vector<double>(3, 0));
    }
}

TEST(ClipEdges, NumbersThatAreNotFinite) {
  for (const Device d : devices()) {
    const auto clipped = [&](double x, double most) {
      const Tensor p = with_gradient(tensor({x, 2}, DType::f32, d)),
                   q = with_gradient(tensor({3}, DType::f32, d));
      optim::clip_grad_norm({{p, q}}, most);
      return std::pair(elements(p.grad()), elements(q.grad()));
    };
    const auto [a, b] = clipped(inf, 1);
    EXPECT_TRUE(std::isnan(a[0]));
    EXPECT_EQ(a[1], 0);
    EXPECT_EQ(b[0], 0);
    EXPECT_EQ(clipped(inf, inf).first, (std::vector<double>{inf, 2}));
    EXPECT_TRUE(std::isnan(clipped(nan, 1).second[0]));
    const Tensor p = with_gradient(tensor({nan, inf, -inf, .5}, DType::f32, d));
    optim::clip_grad_value({{p}}, 1);
    const auto g = elements(p.grad());
    EXPECT_TRUE(std::isnan(g[0]));
    EXPECT_EQ((std::vector(g.begin() + 1, g.end())), (std::vector<double>{1, -1, .5}));
  }
}

TEST(ClipEdges, EveryDtypeAndLayout) {
  for (const Device d : devices())
    for (const DType t : floating) {
      const Tensor m = tensor({{1, 2, 2}, {4, 2, -4}}, t, d);  // norm sqrt(45)
      const Tensor wide = zeros({2, 6}, t, d);
      slice(wide, 1, 0, 6, 2).copy_(m);
      const double scale = 3 / std::sqrt(45.0);
      for (const Tensor& g : {clone(m), transpose(contiguous(transpose(m))), slice(wide, 1, 0, 6, 2)}) {
        const auto before = elements(g);
        const Tensor p = with_gradient(g);
        EXPECT_NEAR(optim::clip_grad_norm({{p}}, 3).item(), std::sqrt(45.0), 1e-14) << t;
        const auto after = elements(p.grad());
        for (std::size_t i = 0; i < after.size(); ++i)
          EXPECT_NEAR(after[i], before[i] * scale, std::abs(after[i]) * epsilon(t)) << t;
        optim::clip_grad_value({{p}}, 1);
        for (std::size_t i = 0; i < after.size(); ++i)
          EXPECT_EQ(elements(p.grad())[i], std::clamp(after[i], -1.0, 1.0)) << t;
      }
      EXPECT_EQ(elements(slice(wide, 1, 1, 6, 2)), std::vector<double>(6, 0)) << "beside the gradient";
      // Expanded: one element stands for six.
      const Tensor p = with_gradient(expand(full({1, 1}, 2, t, d), {2, 3}));
      optim::clip_grad_norm({{p}}, 1);
      for (const double g : elements(p.grad())) EXPECT_NEAR(g, 1 / std::sqrt(6.0), epsilon(t)) << t;
      // A scalar and an empty gradient.
      const Tensor one = with_gradient(full({}, -8, t, d)), none = with_gradient(zeros({0, 2}, t, d));
      EXPECT_EQ(optim::clip_grad_norm({{none, one}}, 2).item(), 8);
      EXPECT_EQ(elements(one.grad()), std::vector<double>{-2});
      EXPECT_EQ(optim::clip_grad_norm({{none}}, 2).item(), 0);
    }
}

TEST(ClipEdges, WhatIsListedTwiceCountsOnce) {
  for (const Device d : devices()) {
    const Tensor p = with_gradient(full({1}, 4, DType::f32, d));
    EXPECT_EQ(optim::clip_grad_norm({{p, p}}, 2).item(), 4);
    EXPECT_EQ(elements(p.grad()), std::vector<double>{2});
    // Two parameters whose gradients are one tensor: each is scaled once.
    const Tensor g = full({1}, 3, DType::f32, d), a = with_gradient(g), b = with_gradient(g);
    EXPECT_NEAR(optim::clip_grad_norm({{a, b}}, 1).item(), std::sqrt(18.0), 1e-14);
    for (const Tensor& x : {a, b}) EXPECT_NEAR(elements(x.grad())[0], std::sqrt(.5), 1e-7);
    EXPECT_EQ(elements(g), std::vector<double>{3});
  }
}

TEST(ClipEdges, LimitsOutsideTheirDomainAreValueErrors) {
  const Tensor p = with_gradient(ones({2}));
  for (const double bad : {nan, -1., 0., -inf}) {
    EXPECT_THROW(optim::clip_grad_norm({{p}}, bad), ValueError) << bad;
    EXPECT_THROW(optim::clip_grad_value({{p}}, bad), ValueError) << bad;
  }
  EXPECT_THROW(optim::clip_grad_norm({}, 1), ValueError);
  EXPECT_THROW(optim::clip_grad_norm({{ones({2}), ones({2}).set_requires_grad()}}, 1), ValueError);
  EXPECT_NO_THROW(optim::clip_grad_value({}, 1));
  EXPECT_NO_THROW(optim::clip_grad_value({{p}}, inf));
  EXPECT_EQ(elements(p.grad()), std::vector<double>(2, 1));
}

// --- GradScaler ---

TEST(GradScalerEdges, FiniteGradientsAreNeverSkipped) {
  for (const Device d : devices())
    for (const auto& [t, x] : {std::pair{DType::f32, 3e38}, {DType::f64, 1e308}, {DType::f64, 1e-300}}) {
      Tensor p = zeros({1000}, t, d).set_requires_grad();
      optim::Sgd sgd({p}, {.lr = 1});
      p.set_grad(full({1000}, x, t, d));
      optim::GradScaler scaler;
      EXPECT_TRUE(scaler.step(sgd)) << x;
      EXPECT_EQ(scaler.scale_factor, 65536);
      EXPECT_NEAR(elements(p)[999] / (-x / 65536), 1, t == DType::f32 ? 1e-7 : 1e-2);
    }
}

TEST(GradScalerEdges, AnElementThatIsNotFiniteIsFoundAnywhere) {
  for (const Device d : devices())
    for (const double bad : {nan, inf, -inf})
      for (const std::int64_t at : {0, 5000, 9999}) {
        Tensor p = zeros({10000}, DType::f32, d).set_requires_grad(),
               q = zeros({2}, DType::f32, d).set_requires_grad();
        optim::Sgd sgd({p, q}, {.lr = 1});
        const Tensor g = ones({10000}, DType::f32, d);
        narrow(g, 0, at, 1).fill_(bad);
        p.set_grad(g), q.set_grad(ones({2}, DType::f32, d));
        optim::GradScaler scaler;
        EXPECT_FALSE(scaler.step(sgd));
        EXPECT_EQ(elements(q), std::vector<double>(2, 0));
        EXPECT_EQ(elements(q.grad()), std::vector<double>(2, 1));
      }
}

TEST(GradScalerEdges, TheScaleHasAFloorAndACeiling) {
  Tensor p = zeros({1}).set_requires_grad();
  optim::Sgd sgd({p}, {.lr = 1});
  optim::GradScaler scaler;
  p.set_grad(full({1}, inf));
  for (int i = 0; i < 2000; ++i) EXPECT_FALSE(scaler.step(sgd));
  EXPECT_EQ(scaler.scale_factor, optim::GradScaler::least);
  EXPECT_EQ(scaler.scale(ones({})).item(), 0x1p-24);
  p.set_grad(full({1}, 0x1p-24));
  EXPECT_TRUE(scaler.step(sgd));
  EXPECT_EQ(p.item(), -1);
  scaler.patience = 1;
  for (int i = 0; i < 2000; ++i) {
    p.set_grad(zeros({1}));
    EXPECT_TRUE(scaler.step(sgd));
  }
  EXPECT_EQ(scaler.scale_factor, optim::GradScaler::most);
}

TEST(GradScalerEdges, BadOptionsAndStepsThatThrowChangeNothing) {
  Tensor p = zeros({2}).set_requires_grad();
  optim::Sgd sgd({p}, {.lr = 1});
  const auto unchanged = [&](const optim::GradScaler& s, double scale) {
    EXPECT_EQ(elements(p.grad()), std::vector<double>(2, 4));
    EXPECT_EQ(elements(p), std::vector<double>(2, 0));
    EXPECT_TRUE(s.scale_factor == scale || std::isnan(scale));
  };
  p.set_grad(full({2}, 4));
  for (const double bad : {nan, inf, -1., 0., 1e-300, 1e300}) {
    optim::GradScaler scaler;
    scaler.scale_factor = bad;
    EXPECT_THROW(scaler.step(sgd), ValueError) << bad;
    EXPECT_THROW(scaler.scale(ones({})), ValueError) << bad;
    unchanged(scaler, bad);
  }
  for (const int bad : {0, -1}) {
    optim::GradScaler scaler;
    scaler.patience = bad;
    EXPECT_THROW(scaler.step(sgd), ValueError);
    unchanged(scaler, 65536);
  }
  optim::GradScaler scaler;
  scaler.scale_factor = 4;
  scaler.patience = 1;
  sgd.lr = nan;
  EXPECT_THROW(scaler.step(sgd), ValueError);
  unchanged(scaler, 4);
  sgd.lr = 1;
  EXPECT_TRUE(scaler.step(sgd));
  EXPECT_EQ(elements(p), std::vector<double>(2, -1));
  EXPECT_EQ(elements(p.grad()), std::vector<double>(2, 1)) << "as the optimizer saw it";
  EXPECT_EQ(scaler.scale_factor, 8);
}

TEST(GradScalerEdges, AStateThatDoesNotFitChangesNothing) {
  optim::GradScaler scaler;
  const StateDict good = scaler.state_dict();
  const auto with = [&](const std::string& name, const Tensor& t) {
    StateDict s = good;
    s[name] = t;
    return s;
  };
  for (const StateDict& bad : {StateDict{}, with("other", ones({1})), with("scale", tensor(1)),
                               with("scale", tensor(nan, DType::f64)), with("scale", tensor(0, DType::f64)),
                               with("growth_tracker", tensor(-1, DType::i64))})
    EXPECT_THROW(scaler.load_state_dict(bad), FormatError);
  EXPECT_EQ(scaler.scale_factor, 65536);
  scaler.load_state_dict(with("scale", tensor(8, DType::f64)));
  EXPECT_EQ(scaler.scale_factor, 8);
}

// --- schedules ---

TEST(ScheduleEdges, FieldsOutsideTheirDomainAreValueErrors) {
  struct Field {
    const char* name;
    std::function<double(double)> at;
    bool zero = true, one = true, infinite = false;
  };
  const auto whole = [](double v) {  // NaN and infinity are no integers
    return std::isfinite(v) ? static_cast<std::int64_t>(v) : std::int64_t{-7};
  };
  for (const auto& [name, at, zero, one, infinite] :
       std::vector<Field>{{"StepDecay start",
                           [](double v) {
                             return optim::StepDecay{v, 2}(3);
                           }},
                          {"StepDecay every",
                           [&](double v) {
                             return optim::StepDecay{1, whole(v)}(3);
                           },
                           false},
                          {"StepDecay gamma",
                           [](double v) {
                             return optim::StepDecay{1, 2, v}(3);
                           }},
                          {"Linear peak",
                           [](double v) {
                             return optim::Linear{v, 9, 2}(3);
                           }},
                          {"Linear steps",
                           [&](double v) {
                             return optim::Linear{1, whole(v)}(3);
                           }},
                          {"Linear warm_up",
                           [&](double v) {
                             return optim::Linear{1, 9, whole(v)}(0);
                           }},
                          {"Linear end",
                           [](double v) {
                             return optim::Linear{1, 9, 2, v}(3);
                           }},
                          {"Cosine peak",
                           [](double v) {
                             return optim::Cosine{v, 9, 2}(3);
                           }},
                          {"Cosine steps",
                           [&](double v) {
                             return optim::Cosine{1, whole(v)}(3);
                           }},
                          {"Cosine warm_up",
                           [&](double v) {
                             return optim::Cosine{1, 9, whole(v)}(0);
                           }},
                          {"Cosine end",
                           [](double v) {
                             return optim::Cosine{1, 9, 2, v}(3);
                           }},
                          {"OneCycle peak",
                           [](double v) {
                             return optim::OneCycle{v, 9}(3);
                           }},
                          {"OneCycle steps",
                           [&](double v) {
                             return optim::OneCycle{1, whole(v)}(3);
                           },
                           false},
                          {"OneCycle warm_up",
                           [](double v) {
                             return optim::OneCycle{1, 9, v}(9);
                           }},
                          {"Plateau rate", [](double v) { return optim::Plateau{v}(3); }},
                          {"Plateau factor",
                           [](double v) {
                             return optim::Plateau{1, v, 0}(nan);
                           }},
                          {"Plateau patience",
                           [&](double v) {
                             return optim::Plateau{1, .1, static_cast<int>(whole(v))}(3);
                           }},
                          {"Plateau threshold",
                           [](double v) {
                             return optim::Plateau{1, .1, 2, v}(3);
                           }},
                          {"Plateau least", [](double v) {
                             return optim::Plateau{1, .1, 2, .1, v}(3);
                           }}}) {
    for (const double v : {nan, -1., inf}) EXPECT_THROW(at(v), ValueError) << name << " = " << v;
    for (const auto& [v, allowed] : {std::pair{0., zero}, {1., one}})
      if (allowed) {
        EXPECT_TRUE(std::isfinite(at(v)) && at(v) >= 0) << name << " = " << v;
      } else {
        EXPECT_THROW(at(v), ValueError) << name << " = " << v;
      }
  }
  EXPECT_EQ((optim::Linear{1, 4, 8}(3)), .5) << "training ends in the warm-up";
  EXPECT_THROW((optim::OneCycle{1, 4, 1.1}(0)), ValueError);
}

TEST(ScheduleEdges, EveryStepHasARate) {
  constexpr auto last = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::pair<const char*, std::function<double(std::int64_t)>>> all{
      {"StepDecay", optim::StepDecay{1, 3}},
      {"Linear", optim::Linear{1, 10, 3, .1}},
      {"Cosine", optim::Cosine{1, 10, 3, .1}},
      {"OneCycle", optim::OneCycle{1, 10}},
      {"all warm-up", optim::OneCycle{1, 10, 1}},
      {"no warm-up", optim::OneCycle{1, 10, 0}},
      {"Linear, all warm-up", optim::Linear{1, 10, 10}},
      {"long", optim::Linear{1, last, last / 2}}};
  for (const auto& [name, rate] : all) {
    EXPECT_THROW(rate(-1), ValueError) << name;
    for (const std::int64_t step : {std::int64_t{0}, std::int64_t{1}, std::int64_t{9}, std::int64_t{10},
                                    std::int64_t{11}, last - 1, last})
      EXPECT_TRUE(rate(step) >= 0 && rate(step) <= 1) << name << " at " << step << ": " << rate(step);
  }
}

// The rate falls if the loss stays, and stays if the loss falls, whatever its sign.
TEST(ScheduleEdges, APlateauOfNegativeLosses) {
  const auto rate_after = [](double first, double change, double threshold = 1e-4) {
    optim::Plateau plateau{.rate = 1, .factor = .5, .patience = 2, .threshold = threshold};
    for (int i = 0; i < 12; ++i) plateau(first + i * change);
    return plateau.rate;
  };
  for (const double first : {5., -5., 0., 1e-300, -1e300, -1e-300})
    EXPECT_LT(rate_after(first, 0), 1) << first;
  for (const double first : {50., -5., 0.}) EXPECT_EQ(rate_after(first, -1), 1) << first;
  for (const double first : {50., -5., 0.}) EXPECT_LT(rate_after(first, 1), 1) << first;
  EXPECT_LT(rate_after(-100, -1e-3), 1) << "less than the threshold";
  EXPECT_EQ(rate_after(-100, -1, 0), 1);
  EXPECT_LT(rate_after(nan, 0), 1);
  EXPECT_LT(rate_after(inf, 0), 1);
}

}  // namespace
