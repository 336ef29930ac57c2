// Optimizers against their formulas; schedules, clipping, averages.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace bobbin;

namespace {

Tensor parameter(double v) { return tensor({v}, DType::f64).set_requires_grad(); }

TEST(Sgd, FollowsItsFormulaWithMomentum) {
  for (const bool nesterov : {false, true}) {
    Tensor p = parameter(1);
    optim::Sgd sgd({p}, {.lr = .1, .momentum = .9, .weight_decay = .01, .nesterov = nesterov});
    double x = 1, m = 0;
    for (int i = 0; i < 5; ++i) {
      sgd.zero_grad();
      backward(sum(square(p)));
      sgd.step();
      const double g = 2 * x + .01 * x;
      m = .9 * m + g;
      x -= .1 * (nesterov ? g + .9 * m : m);
      EXPECT_NEAR(p.item(), x, 1e-14);
    }
  }
}

TEST(AdamW, FollowsItsFormula) {
  Tensor p = parameter(1);
  optim::AdamW adam({p}, {.lr = .1, .weight_decay = .02});
  double x = 1, m = 0, v = 0;
  for (int t = 1; t <= 5; ++t) {
    adam.zero_grad();
    backward(sum(square(p)));
    adam.step();
    const double g = 2 * x;
    m = .9 * m + .1 * g;
    v = .999 * v + .001 * g * g;
    x = x * (1 - .1 * .02) -
        .1 * (m / (1 - std::pow(.9, t))) / (std::sqrt(v / (1 - std::pow(.999, t))) + 1e-8);
    EXPECT_NEAR(p.item(), x, 1e-14);
  }
}

TEST(Adam, LeavesAloneWhatHasNoGradient) {
  Tensor p = parameter(1), q = parameter(2);
  optim::Adam adam({p, q});
  backward(sum(p));
  adam.step();
  EXPECT_NE(p.item(), 1);
  EXPECT_EQ(q.item(), 2);
}

TEST(Optimizer, RefusesWhatItCannotTrain) {
  EXPECT_THROW(optim::Sgd({tensor({1})}), GradError);
  EXPECT_THROW(optim::Sgd({parameter(1) * 2}), GradError);
  EXPECT_THROW(optim::Adam({zeros({2}, DType::bf16).set_requires_grad()}), DTypeError);
}

TEST(Optimizer, ReadsAStridedGradient) {
  Tensor p = tensor({{1, 2}, {3, 4}}).set_requires_grad();
  p.set_grad(transpose(tensor({{1, 2}, {3, 4}})));
  optim::Sgd sgd({p}, {.lr = 1});
  sgd.step();
  EXPECT_EQ(p.to_vector<float>(), (std::vector<float>{0, -1, 1, 0}));
}

// Five steps on the sum of squares, beside a formula: step(t, g, p) gives the new p.
template<class F>
void expect_follows(optim::Optimizer& optimizer, Tensor& p, F step) {
  double x = p.item();
  for (int t = 1; t <= 5; ++t) {
    optimizer.zero_grad();
    backward(sum(square(p)));
    optimizer.step();
    x = step(t, 2 * x, x);
    EXPECT_NEAR(p.item(), x, 1e-14) << t;
  }
}

TEST(Adam, AddsWeightDecayToTheGradient) {
  Tensor p = parameter(1);
  optim::Adam adam({p}, {.lr = .1, .weight_decay = .02});
  double m = 0, v = 0;
  expect_follows(adam, p, [&](int t, double g, double x) {
    g += .02 * x;
    m = .9 * m + .1 * g;
    v = .999 * v + .001 * g * g;
    return x - .1 * (m / (1 - std::pow(.9, t))) / (std::sqrt(v / (1 - std::pow(.999, t))) + 1e-8);
  });
}

TEST(RmsProp, FollowsItsFormula) {
  for (const double mu : {0.0, .9}) {
    Tensor p = parameter(1);
    optim::RmsProp rms({p}, {.lr = .1, .weight_decay = .02, .momentum = mu});
    double v = 0, m = 0;
    expect_follows(rms, p, [&](int, double g, double x) {
      g += .02 * x;
      v = .99 * v + .01 * g * g;
      m = mu * m + g / (std::sqrt(v) + 1e-8);
      return x - .1 * m;
    });
  }
}

TEST(Adagrad, FollowsItsFormula) {
  Tensor p = parameter(1);
  optim::Adagrad adagrad({p},
                         {.lr = .1, .lr_decay = .5, .weight_decay = .02, .initial_accumulator_value = .3});
  double s = .3;
  expect_follows(adagrad, p, [&](int t, double g, double x) {
    g += .02 * x;
    s += g * g;
    return x - .1 / (1 + (t - 1) * .5) * g / (std::sqrt(s) + 1e-10);
  });
}

TEST(Lion, FollowsItsFormula) {
  Tensor p = parameter(.25);
  optim::Lion lion({p}, {.lr = .1, .weight_decay = .02});
  double m = 0;
  expect_follows(lion, p, [&](int, double g, double x) {
    const double u = .9 * m + .1 * g;
    m = .99 * m + .01 * g;
    return x * (1 - .1 * .02) - .1 * (u > 0 ? 1 : u < 0 ? -1 : 0);
  });
}

// The first step of Muon from 0 along -g.
Tensor muon_step(const Tensor& g) {
  Tensor p = zeros(g.shape(), DType::f64).set_requires_grad();
  p.set_grad(g);
  optim::Muon muon({p}, {.lr = 1, .weight_decay = 0});
  muon.step();
  return p.detach();
}

TEST(Muon, StepsAlongANearlyOrthogonalMatrix) {
  const Tensor g =
      tensor({{1, 0, 0, 0}, {0, -2, 0, 0}, {0, 0, .5, 0}}, DType::f64);  // its own singular values
  const auto o = muon_step(g).to_vector<double>();
  for (std::size_t i = 0; i < 12; ++i)
    if (i % 5 == 0)
      EXPECT_NEAR(std::abs(o[i]), .95, .3) << i;
    else
      EXPECT_NEAR(o[i], 0, 1e-12) << i;
  EXPECT_LT(o[0], 0);
  EXPECT_GT(o[5], 0);
  // Turned, it steps along the turned matrix; tall ones step farther.
  const double c = std::cos(.7), n = std::sin(.7);
  const Tensor turn = tensor({{c, -n, 0}, {n, c, 0}, {0, 0, 1}}, DType::f64);
  const auto turned = muon_step(matmul(turn, g)).to_vector<double>(),
             want = matmul(turn, muon_step(g)).to_vector<double>();
  for (std::size_t i = 0; i < 12; ++i) EXPECT_NEAR(turned[i], want[i], 1e-6) << i;
  const auto tall = transpose(muon_step(contiguous(transpose(g)))).to_vector<double>();
  for (std::size_t i = 0; i < 12; ++i) EXPECT_NEAR(tall[i], o[i] * std::sqrt(4. / 3), 1e-12) << i;
}

TEST(Muon, IsForMatrices) { EXPECT_THROW(optim::Muon({parameter(1)}), ShapeError); }

TEST(Optimizer, GroupsHaveTheirOwnRateAndDecay) {
  Tensor a = parameter(1), b = parameter(1);
  std::vector<optim::ParameterGroup> groups(2);
  groups[0].parameters = {a};
  groups[1] = {{b}, .5, 0.0};
  optim::Sgd sgd(groups, {.lr = .1, .weight_decay = .2});
  backward(sum(a + b));
  sgd.step();
  EXPECT_NEAR(a.item(), 1 - .1 * (1 + .2), 1e-15);
  EXPECT_NEAR(b.item(), 1 - .05, 1e-15);
  EXPECT_THROW(optim::Sgd({a, a}), ValueError);
}

TEST(Optimizer, AccumulatesGradientsUntilTheyAreDropped) {
  Tensor a = parameter(1), b = parameter(1);
  optim::Sgd one({a}, {.lr = .1}), two({b}, {.lr = .1});
  backward(sum(square(a)) * 2);
  for (int i = 0; i < 2; ++i) backward(sum(square(b)));
  one.step();
  two.step();
  EXPECT_EQ(a.item(), b.item());
}

TEST(Optimizer, ResumesWhereItStopped) {
  const auto train = [](Tensor& p, optim::Optimizer& o, int steps) {
    for (int i = 0; i < steps; ++i) {
      o.zero_grad();
      backward(sum(exp(p) - p));
      o.step();
    }
  };
  Tensor p = tensor({.5, -2, 3}).set_requires_grad();
  optim::Adam whole({p}, {.lr = .01});
  train(p, whole, 7);
  Tensor q = tensor({.5, -2, 3}).set_requires_grad();
  optim::Adam first({q}, {.lr = .01});
  train(q, first, 3);
  Tensor r = clone(q.detach()).set_requires_grad();
  optim::Adam second({r}, {.lr = .01});
  second.load_state_dict(first.state_dict());
  train(r, second, 4);
  EXPECT_EQ(p.to_vector<float>(), r.to_vector<float>());
}

TEST(Optimizer, AveragesOfADeadUnitReachZero) {
  const auto check = [](optim::Optimizer&& o, const Tensor& p) {
    backward(sum(p));
    o.step();
    for (int i = 0; i < 1000; ++i) {  // .9^1000 is 1.7e-46: no float
      o.zero_grad();
      backward(sum(p * 0));
      o.step();
    }
    int averages = 0;
    for (const auto& [name, value] : o.state_dict())
      if (value.dtype() == DType::f32 && value.numel() == 5) {
        ++averages;
        for (const float x : value.to_vector<float>()) EXPECT_EQ(x, 0) << name;
      }
    EXPECT_GT(averages, 0);
  };
  const auto p = [] { return ones({5}).set_requires_grad(); };
  Tensor q = p();
  check(optim::Sgd({q}, {.lr = .01, .momentum = .9}), q);
  check(optim::Adam({q = p()}, {.beta1 = .9, .beta2 = .9}), q);
  check(optim::RmsProp({q = p()}, {.alpha = .9}), q);
  check(optim::RmsProp({q = p()}, {.alpha = .9, .momentum = .9}), q);
  check(optim::Lion({q = p()}, {.beta2 = .9}), q);
}

TEST(Optimizer, AStateThatDoesNotFitChangesNothing) {
  Tensor p = parameter(1);
  optim::Adam adam({p});
  auto state = adam.state_dict();
  state.erase("exp_avg.0");
  state["exp_avg_sq.0"] = zeros({2});
  state["other"] = zeros({1});
  try {
    adam.load_state_dict(state);
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_STREQ(e.what(),
                 "optimizer: the state does not fit: 'exp_avg.0' is missing; 'exp_avg_sq.0' is f32[2], not "
                 "f64[1]; 'other' is unknown");
  }
}

TEST(Clip, ScalesGradientsDownToTheirNorm) {
  Tensor a = parameter(1), b = tensor({1, 1}).set_requires_grad();
  a.set_grad(tensor({3}, DType::f64));
  b.set_grad(tensor({0, 4}));
  const std::vector all{a, b};
  EXPECT_NEAR(optim::clip_grad_norm(all, 10).item(), 5, 1e-12);
  EXPECT_EQ(a.grad().item(), 3);
  EXPECT_NEAR(optim::clip_grad_norm(all, 1).item(), 5, 1e-12);
  EXPECT_NEAR(a.grad().item(), .6, 1e-6);
  EXPECT_NEAR(b.grad().to_vector<float>()[1], .8, 1e-6);
  optim::clip_grad_value(all, .7);
  EXPECT_NEAR(b.grad().to_vector<float>()[1], .7, 1e-6);
  EXPECT_THROW(optim::clip_grad_norm(all, 0), ValueError);
}

TEST(Ema, FollowsItsParameters) {
  Tensor p = parameter(1);
  optim::Ema ema({p}, .9);
  {
    const NoGrad quiet;
    p.fill_(2);
  }
  ema.update();
  EXPECT_NEAR(ema.averages()[0].item(), .9 * 1 + .1 * 2, 1e-15);
  ema.swap();
  EXPECT_NEAR(p.item(), 1.1, 1e-15);
  ema.swap();
  EXPECT_EQ(p.item(), 2);
}

TEST(GradScaler, LeavesOutAStepThatOverflowed) {
  Tensor p = parameter(1);
  optim::Sgd sgd({p}, {.lr = .1});
  optim::GradScaler scaler;
  scaler.scale_factor = 1024;
  scaler.patience = 2;
  const auto step = [&](double factor) {
    sgd.zero_grad();
    backward(scaler.scale(sum(p * factor)));
    return scaler.step(sgd);
  };
  EXPECT_FALSE(step(std::numeric_limits<double>::infinity()));
  EXPECT_EQ(p.item(), 1);
  EXPECT_EQ(scaler.scale_factor, 512);
  EXPECT_TRUE(step(2));
  EXPECT_NEAR(p.item(), .8, 1e-15);
  EXPECT_TRUE(step(2));
  EXPECT_EQ(scaler.scale_factor, 1024);
}

TEST(Schedules, FollowTheirCurves) {
  EXPECT_NEAR((optim::StepDecay{1, 10, .5}(25)), .25, 1e-15);
  const optim::Linear line{.peak = 1, .steps = 30, .warm_up = 10};
  EXPECT_NEAR(line(0), .1, 1e-15);
  EXPECT_NEAR(line(9), 1, 1e-15);
  EXPECT_NEAR(line(20), .5, 1e-15);
  EXPECT_EQ(line(99), 0);
  const optim::Cosine cosine{.peak = 1, .steps = 30, .warm_up = 10, .end = .2};
  EXPECT_NEAR(cosine(4), .5, 1e-15);
  EXPECT_NEAR(cosine(20), .6, 1e-15);
  EXPECT_NEAR(cosine(30), .2, 1e-15);
  optim::Plateau plateau{.rate = 1, .factor = .5, .patience = 1};
  for (const auto& [loss, rate] : {std::pair{2., 1.}, {1., 1.}, {1., 1.}, {1., .5}, {1., .5}, {.5, .5}})
    EXPECT_EQ(plateau(loss), rate) << loss;
}

TEST(OneCycle, RisesToItsPeakAndFalls) {
  const optim::OneCycle rate{.peak = 1, .steps = 100, .warm_up = .25};
  EXPECT_NEAR(rate(0), .04, 1e-12);
  EXPECT_NEAR(rate(25), 1, 1e-12);
  EXPECT_LT(rate(99), .001);
  for (int i = 1; i <= 25; ++i) EXPECT_GT(rate(i), rate(i - 1));
  for (int i = 26; i < 100; ++i) EXPECT_LT(rate(i), rate(i - 1));
  EXPECT_GT((optim::OneCycle{1, 10, 0}(0)), .9);
}

TEST(Optimizer, FollowsItsSchedule) {
  const auto train = [](bool scheduled) {
    Tensor p = tensor({1, 2, 3}).set_requires_grad();
    optim::Adam adam({p});
    const optim::Cosine rate{0.1, 6, 2};
    if (scheduled) adam.schedule = rate;
    for (std::int64_t i = 0; i < 6; ++i) {
      if (!scheduled) adam.lr = rate(i);
      adam.zero_grad();
      backward(sum(p * p));
      adam.step();
      EXPECT_EQ(adam.lr, rate(i));
    }
    return p.to_vector<float>();
  };
  EXPECT_EQ(train(true), train(false));
}

}  // namespace
