// Optimizers at their edges: every dtype, layout and option, gradients that come late, steps that fail. All
// devices that there are.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/autograd/devices.h"
#include "tests/autograd/optim_kinds.h"

using namespace bobbin;
using tests::devices;
using tests::elements;
using tests::optimizer_kinds;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
const std::vector<double> outside{nan, -1, inf};

Tensor leaf(const Tensor& t) { return Tensor(t.detach()).set_requires_grad(); }

// All elements of parameters and state.
std::vector<double> everything(const optim::Optimizer& o) {
  std::vector<double> all;
  const auto add = [&](const Tensor& t) {
    const auto v = elements(t);
    all.insert(all.end(), v.begin(), v.end());
  };
  for (auto& p : o.parameters()) add(p);
  for (auto& [name, t] : o.state_dict()) add(t);
  return all;
}

// f must throw E, with a message that begins with `who`.
template<class E, class F>
void expect_refused(const char* who, F f, const std::string& where) {
  try {
    f();
    ADD_FAILURE() << where << " was accepted";
  } catch (const E& e) {
    EXPECT_EQ(std::string(e.what()).rfind(who, 0), 0U) << where << ": " << e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << where << ": another exception: " << e.what();
  }
}

// --- dtypes and layouts ---

TEST(OptimizerEdges, ParametersOfEveryDtypeAndLayoutAreTrainedOrRefused) {
  for (const Device d : devices())
    for (const auto& kind : optimizer_kinds()) {
      const char* const name = kind.name;
      const auto& make = kind.make;
      for (const DType t : {DType::f64, DType::f32}) {
        const Tensor around = full({6, 8}, 1, t, d), matrix = around.alias({2, 8}, {8, 1}, 16);
        const Tensor p = leaf(matrix);
        Tensor(p).set_grad(full({2, 8}, .5, t, d));
        make({p})->step();
        for (const double x : elements(p)) EXPECT_TRUE(x != 1 && std::isfinite(x)) << name;
        for (const int row : {0, 1, 4, 5})
          EXPECT_EQ(elements(select(around, 0, row)), std::vector<double>(8, 1)) << name;

        // Strided views.
        for (const Tensor& view : {transpose(matrix), slice(matrix, 1, 0, 7), slice(matrix, 1, 0, 8, 2),
                                   expand(full({1, 4}, 1, t, d), {3, 4})})
          expect_refused<ShapeError>(
              "optimizer: a parameter ", [&] { make({leaf(view)}); }, name);
        // Elements given twice, as a whole and in part.
        const Tensor low = leaf(matrix), whole = leaf(around), row = leaf(narrow(around, 0, 3, 2));
        for (const auto& both : {std::vector{p, p}, std::vector{p, low}, std::vector{p, whole},
                                 std::vector{whole, p}, std::vector{row, p}})
          expect_refused<ValueError>(
              "optimizer: a parameter ", [&] { make(both); }, name);
        EXPECT_NO_THROW(make({leaf(narrow(around, 0, 0, 2)), p, leaf(narrow(around, 0, 4, 2))})) << name;

        // Scalars and empty tensors.
        for (const Shape& shape : {Shape{}, Shape{0}, Shape{0, 3}, Shape{3, 0}, Shape{1, 1}}) {
          const Tensor q = leaf(full(shape, 1, t, d));
          if (kind.matrices && shape.size() != 2) {
            expect_refused<ShapeError>(
                "Muon: ", [&] { make({q}); }, name);
            continue;
          }
          Tensor(q).set_grad(full(shape, .5, t, d));
          make({q})->step();
          for (const double x : elements(q)) EXPECT_TRUE(x < 1 && std::isfinite(x)) << name;
        }
      }
      for (const DType t : {DType::f16, DType::bf16})
        expect_refused<DTypeError>(
            "optimizer: ",
            [&] {
              make({leaf(full({2, 2}, 1, t, d))});
            },
            name);
      for (const DType t : {DType::i64, DType::i32, DType::u8, DType::boolean})
        expect_refused<GradError>(
            "optimizer: ",
            [&] {
              make({full({2, 2}, 1, t, d)});
            },
            name);
      expect_refused<GradError>(
          "optimizer: ",
          [&] {
            make({leaf(ones({2, 2})) * 2});
          },
          name);
      EXPECT_THROW(make({Tensor()}), Error) << name;
      EXPECT_NO_THROW(make(std::vector<Tensor>{})->step()) << name;
    }
}

TEST(OptimizerEdges, AGradientOfAnyLayoutGivesTheSameStep) {
  manual_seed(3);
  const Tensor g = randn({4, 6}, DType::f64), start = randn({4, 6}, DType::f64);
  for (const Device d : devices())
    for (const auto& kind : optimizer_kinds())
      for (const DType t : {DType::f64, DType::f32}) {
        const auto& name = kind.name;
        const auto step = [&](const Tensor& gradient) {
          Tensor p = clone(to(to(start, t), d)).set_requires_grad();
          p.set_grad(gradient);
          kind.make({p})->step();
          return elements(p);
        };
        const Tensor whole = to(to(g, t), d), wide = empty({4, 12}, t, d), one = slice(whole, 0, 0, 1);
        slice(wide, 1, 0, 12, 2).copy_(whole);
        EXPECT_EQ(step(transpose(contiguous(transpose(whole)))), step(whole)) << name;
        EXPECT_EQ(step(slice(wide, 1, 0, 12, 2)), step(whole)) << name;
        EXPECT_EQ(step(expand(one, {4, 6})), step(contiguous(expand(one, {4, 6})))) << name;
      }
}

// --- options ---

TEST(OptimizerEdges, OptionsOutsideTheirDomainAreValueErrors) {
  const Tensor p = leaf(ones({2, 2}));
  struct Option {
    const char* name;
    std::function<void(double)> with;
    bool one = true;  // whether 1 is in the domain; 0 always is, NaN, -1 and infinity never are
  };
  std::vector<Option> options{
      {"Sgd momentum", [&](double v) { optim::Sgd({p}, {.momentum = v}); }, false},
      {"Adam beta1", [&](double v) { optim::Adam({p}, {.beta1 = v}); }, false},
      {"Adam beta2", [&](double v) { optim::Adam({p}, {.beta2 = v}); }, false},
      {"Adam eps", [&](double v) { optim::Adam({p}, {.eps = v}); }},
      {"AdamW beta1", [&](double v) { optim::AdamW({p}, {.beta1 = v}); }, false},
      {"AdamW beta2", [&](double v) { optim::AdamW({p}, {.beta2 = v}); }, false},
      {"AdamW eps", [&](double v) { optim::AdamW({p}, {.eps = v}); }},
      {"RmsProp alpha", [&](double v) { optim::RmsProp({p}, {.alpha = v}); }, false},
      {"RmsProp eps", [&](double v) { optim::RmsProp({p}, {.eps = v}); }},
      {"RmsProp momentum", [&](double v) { optim::RmsProp({p}, {.momentum = v}); }, false},
      {"Adagrad lr_decay", [&](double v) { optim::Adagrad({p}, {.lr_decay = v}); }},
      {"Adagrad initial", [&](double v) { optim::Adagrad({p}, {.initial_accumulator_value = v}); }},
      {"Adagrad eps", [&](double v) { optim::Adagrad({p}, {.eps = v}); }},
      {"Lion beta1", [&](double v) { optim::Lion({p}, {.beta1 = v}); }, false},
      {"Lion beta2", [&](double v) { optim::Lion({p}, {.beta2 = v}); }, false},
      {"Muon momentum", [&](double v) { optim::Muon({p}, {.momentum = v}); }, false},
      {"Ema decay", [&](double v) { optim::Ema({p}, v); }, false},
      {"lr_scale",
       [&](double v) {
         optim::Sgd(std::vector<optim::ParameterGroup>{{{p}, v}});
       }},
      {"weight_decay of a group", [&](double v) {
         optim::Sgd(std::vector<optim::ParameterGroup>{{{p}, 1, v}});
       }}};
  const auto both = [&]<class O, class Options>(const char* name, std::type_identity<O>, Options) {
    options.push_back({name, [&p](double v) {
                         Options o;
                         o.lr = v;
                         O({p}, o);
                       }});
    options.push_back({name, [&p](double v) {
                         Options o;
                         o.weight_decay = v;
                         O({p}, o);
                       }});
  };
  both("Sgd lr, weight_decay", std::type_identity<optim::Sgd>{}, optim::SgdOptions{});
  both("Adam lr, weight_decay", std::type_identity<optim::Adam>{}, optim::AdamOptions{});
  both("AdamW lr, weight_decay", std::type_identity<optim::AdamW>{}, optim::AdamWOptions{});
  both("RmsProp lr, weight_decay", std::type_identity<optim::RmsProp>{}, optim::RmsPropOptions{});
  both("Adagrad lr, weight_decay", std::type_identity<optim::Adagrad>{}, optim::AdagradOptions{});
  both("Lion lr, weight_decay", std::type_identity<optim::Lion>{}, optim::LionOptions{});
  both("Muon lr, weight_decay", std::type_identity<optim::Muon>{}, optim::MuonOptions{});
  for (const auto& [name, with, one] : options) {
    for (const double v : outside) EXPECT_THROW(with(v), ValueError) << name << " = " << v;
    EXPECT_NO_THROW(with(0)) << name;
    if (one)
      EXPECT_NO_THROW(with(1)) << name;
    else
      EXPECT_THROW(with(1), ValueError) << name;
  }
  for (const int steps : {0, -1}) EXPECT_THROW(optim::Muon({p}, {.ns_steps = steps}), ValueError);
}

TEST(OptimizerEdges, AStepThatThrowsHasChangedNothing) {
  for (const Device d : devices())
    for (const auto& [name, make, matrices] : optimizer_kinds()) {
      Tensor p = leaf(full({3, 4}, 1, DType::f64, d));
      p.set_grad(full({3, 4}, .5, DType::f64, d));
      const auto o = make({p}), twin = make({clone(p.detach()).set_requires_grad()});
      Tensor(twin->parameters()[0]).set_grad(clone(p.grad()));
      o->step(), twin->step();
      const auto before = everything(*o);
      const double rate = o->lr;
      for (const double bad : outside) {
        o->lr = bad;
        EXPECT_THROW(o->step(), ValueError) << name << ", lr " << bad;
        o->lr = rate;
        o->schedule = [bad](std::int64_t) { return bad; };
        EXPECT_THROW(o->step(), ValueError) << name << ", schedule " << bad;
        EXPECT_EQ(o->lr, rate) << name;
      }
      o->schedule = [](std::int64_t) -> double { throw 7; };
      EXPECT_THROW(o->step(), int) << name;
      o->schedule = nullptr;
      EXPECT_EQ(everything(*o), before) << name;
      o->step(), twin->step();
      EXPECT_EQ(everything(*o), everything(*twin)) << name;
    }
}

TEST(OptimizerEdges, AFrozenParameterIsLeftAlone) {
  for (const auto& [name, make, matrices] : optimizer_kinds()) {
    Tensor p = leaf(full({2, 2}, 3)), q = leaf(full({2, 2}, 3));
    const auto o = make({p, q});
    const auto train = [&] {
      o->zero_grad();
      backward(sum(square(p) + square(q)));
      o->step();
    };
    train();
    Tensor frozen = o->parameters()[1];
    frozen.set_requires_grad(false);
    const auto kept = elements(q), moved = elements(p);
    train();
    EXPECT_EQ(elements(q), kept) << name;
    EXPECT_NE(elements(p), moved) << name;
    frozen.set_requires_grad(true);
    train();
    EXPECT_NE(elements(q), kept) << name;
  }
}

// --- step counts, and averages in f32 ---

// The first step of Adam is lr in the direction of the gradient, whenever it comes: the bias corrections undo
// 1 - beta exactly. m = (1 - b1) g, v = (1 - b2) g^2.
TEST(AdamEdges, ALateGradientStartsAsAnEarlyOne) {
  for (const Device d : devices())
    for (const DType t : {DType::f64, DType::f32}) {
      Tensor early = leaf(zeros({3}, t, d)), late = leaf(zeros({3}, t, d));
      optim::Adam adam({early, late}, {.lr = .01});
      for (int i = 0; i < 100; ++i) {
        early.set_grad(full({3}, 2, t, d));
        if (i == 60) late.set_grad(full({3}, 2, t, d));
        adam.step();
        if (i == 60) {
          for (const double x : elements(late)) EXPECT_NEAR(x, -.01, t == DType::f32 ? 2e-9 : 1e-10);
          late.set_grad({});
        }
      }
      late.set_grad(full({3}, 2, t, d));
      adam.step();  // its second: with a constant gradient each step is lr
      for (const double x : elements(late)) EXPECT_NEAR(x, -.02, t == DType::f32 ? 4e-9 : 2e-10);
      EXPECT_EQ(adam.state_dict().at("step.0").item<std::int64_t>(), 101);
      EXPECT_EQ(adam.state_dict().at("step.1").item<std::int64_t>(), 2);
      EXPECT_EQ(adam.state_dict().at("step").item<std::int64_t>(), 101);
    }
}

TEST(AdagradEdges, TheDecayOfTheRateCountsTheStepsOfAParameter) {
  Tensor early = leaf(zeros({1}, DType::f64)), late = leaf(zeros({1}, DType::f64));
  optim::Adagrad o({early, late}, {.lr = .1, .lr_decay = 1});
  early.set_grad(ones({1}, DType::f64));
  for (int i = 0; i < 9; ++i) o.step();
  late.set_grad(ones({1}, DType::f64));
  o.step();
  EXPECT_NEAR(late.item(), -.1, 1e-9);
}

// A constant gradient: each step of Adam is lr, to the accuracy of one f32 operation after another, for any
// beta.
TEST(AdamEdges, BiasCorrectionsHoldForBetasNearOne) {
  for (const Device d : devices())
    for (const double beta : {.9, .99, .999, .9999, .99999, .999999, .9999999}) {
      Tensor p = leaf(zeros({1}, DType::f32, d));
      optim::Adam adam({p}, {.lr = 1, .beta1 = beta, .beta2 = beta, .eps = 0});
      p.set_grad(full({1}, 3, DType::f32, d));
      double last = 0;
      for (int i = 1; i <= 200; ++i) {
        adam.step();
        const double now = elements(p)[0];
        EXPECT_NEAR(last - now, 1, i == 1 ? 3e-7 : 4e-5) << "beta " << beta << ", step " << i;
        last = now;
      }
    }
}

// v = (1 - alpha^n) g^2 after n steps with a constant gradient.
TEST(RmsPropEdges, TheAverageFollowsItsFormulaForAlphaNearOne) {
  for (const Device d : devices())
    for (const double alpha : {.99, .9999, .999999}) {
      Tensor p = leaf(zeros({1}, DType::f32, d));
      optim::RmsProp rms({p}, {.alpha = alpha});
      p.set_grad(full({1}, 3, DType::f32, d));
      for (int i = 0; i < 300; ++i) rms.step();
      const double want = -9 * std::expm1(300 * std::log(alpha));
      EXPECT_NEAR(elements(rms.state_dict().at("square_avg.0"))[0], want, 2e-5 * want) << alpha;
    }
}

// Both averages of constant numbers stay what they are: the weights of old and new sum to 1.
TEST(EmaEdges, TheAverageOfAConstantIsTheConstant) {
  for (const Device d : devices())
    for (const double decay : {0., .5, .9, .999, .9999, .99999, .999999}) {
      Tensor p = leaf(full({3}, 3, DType::f32, d));
      optim::Ema ema({p}, decay);
      for (int i = 0; i < 1000; ++i) ema.update();
      for (const double x : elements(ema.averages()[0])) EXPECT_NEAR(x, 3, 1e-6) << decay;
      {
        const NoGrad quiet;
        p.fill_(5);
      }
      for (int i = 0; i < 100; ++i) ema.update();
      const double want = 5 - 2 * std::pow(decay, 100);
      for (const double x : elements(ema.averages()[0])) EXPECT_NEAR(x, want, 2e-5) << decay;
    }
}

TEST(EmaEdges, TakesWhatAnOptimizerTakes) {
  for (const Device d : devices()) {
    for (const DType t : {DType::f16, DType::bf16, DType::i64, DType::i32, DType::u8, DType::boolean})
      expect_refused<DTypeError>(
          "Ema: ", [&] { optim::Ema({ones({3}, t, d)}); }, "Ema");
    const Tensor m = full({2, 3}, 1, DType::f32, d);
    for (const Tensor& view : {transpose(m), slice(m, 1, 0, 2), expand(narrow(m, 0, 0, 1), {4, 3})})
      expect_refused<ShapeError>(
          "Ema: ", [&] { optim::Ema({view}); }, "Ema");
    expect_refused<ValueError>(
        "Ema: ",
        [&] {
          optim::Ema({m, m});
        },
        "Ema");
    EXPECT_THROW(optim::Ema({Tensor()}), Error);
    const Tensor scalar = full({}, 2, DType::f64, d), none = zeros({0, 3}, DType::f32, d),
                 row = narrow(m, 0, 1, 1);
    optim::Ema ema({scalar, none, row}, .5);
    ema.update();
    Tensor(m).fill_(3);
    ema.update();
    ema.swap();
    EXPECT_EQ(elements(m), (std::vector<double>{3, 3, 3, 2, 2, 2}));
    EXPECT_EQ(elements(ema.averages()[2]), (std::vector<double>{3, 3, 3}));
    ema.swap();
    EXPECT_EQ(elements(m), std::vector<double>(6, 3));
    EXPECT_EQ(elements(ema.averages()[2]), (std::vector<double>{2, 2, 2}));
  }
}

TEST(EmaEdges, ASwapCountsAsAnEdit) {
  Tensor p = leaf(ones({3}));
  optim::Ema ema({p});
  const Tensor loss = sum(square(p));
  ema.swap();
  EXPECT_THROW(backward(loss), GradError);
}

}  // namespace
