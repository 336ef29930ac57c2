// Fails each allocation of what training does between two backward passes, one after the other: steps of all
// optimizers, clipping, scaling, averages, loading. Each must throw for want of memory, leave all numbers as
// they were, and give the usual result when it is tried again.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>

#include "tests/autograd/failing_allocations.h"
#include "tests/autograd/optim_kinds.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

using Numbers = std::map<std::string, std::vector<double>>;

// Parameters of both dtypes, one longer than a task of a thread and one without a gradient, and their
// optimizer, after two steps.
struct Training {
  explicit Training(const tests::OptimizerKind& kind, bool strided = false, std::int64_t width = 9) {
    manual_seed(3);
    for (const Shape& s : {Shape{3, 4}, Shape{2, width}, Shape{2, 2}}) parameters.push_back(leaf(randn(s)));
    parameters.push_back(leaf(randn({4, 2}, DType::f64)));
    optimizer = kind.make(parameters);
    ema.emplace(parameters, .9);
    for (int i = 0; i < 2; ++i) give(strided), optimizer->step(), ema->update();
    give(strided);
  }
  static Tensor leaf(const Tensor& t) { return Tensor(t).set_requires_grad(); }
  // New gradients. Strided ones are replaced by clipping, not edited.
  void give(bool strided) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (i != 2) {
        Tensor& p = parameters[i];
        const Tensor g = randn(p.shape(), p.dtype());
        p.set_grad(strided ? transpose(contiguous(transpose(g))) : g);
      }
  }
  Numbers numbers() const {
    Numbers all;
    const auto add = [&](const std::string& what, const StateDict& state) {
      for (auto& [name, t] : state) all[what + name] = t.detach().to_vector<double>();
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      add("parameter ", {{std::to_string(i), parameters[i]}});
      if (const Tensor g = parameters[i].grad()) add("gradient ", {{std::to_string(i), g}});
    }
    add("", optimizer->state_dict());
    add("", ema->state_dict());
    add("", scaler.state_dict());
    return all;
  }

  std::vector<Tensor> parameters;
  std::unique_ptr<optim::Optimizer> optimizer;
  std::optional<optim::Ema> ema;
  optim::GradScaler scaler;
};

std::int64_t injected = 0;

// The names of what differs.
std::string difference(const Numbers& got, const Numbers& want) {
  std::string names;
  for (auto& [name, v] : want)
    if (!got.contains(name) || got.at(name) != v) names += " '" + name + "'";
  return names + (got.size() == want.size() ? "" : " and more");
}

// Calls f on new trainings, failing allocation 0, 1, ... of the call until none fails: that one alone, and
// then with all that follow.
void inject(const std::string& name, const std::function<Training()>& make,
            const std::function<void(Training&)>& f) {
  Numbers want;
  {
    Training t = make();
    f(t);
    want = t.numbers();
  }
  for (const Fails mode : {Fails::once, Fails::from_then})
    for (std::int64_t n = 0;; ++n) {
      const std::string where =
          name + ", allocation " + std::to_string(n) + (mode == Fails::once ? "" : " and later");
      Training t = make();
      const Numbers before = t.numbers();
      const Outcome outcome = failing(n, mode, [&] { f(t); });
      ASSERT_NE(outcome, Outcome::wrong) << where << ": another exception";
      if (outcome == Outcome::threw) {
        ASSERT_EQ(difference(t.numbers(), before), "") << where << ": changed by the call that threw";
        f(t);
      }
      ASSERT_EQ(difference(t.numbers(), want), "") << where << ": another result";
      if (!reached) break;
      ++injected;
    }
}

struct FailingStep : testing::Test {
  static void SetUpTestSuite() { set_num_threads(1); }
  static void TearDownTestSuite() {
    std::printf("%lld failures injected\n", static_cast<long long>(injected));
  }
};

TEST_F(FailingStep, EveryOptimizer) {
  for (const auto& kind : tests::optimizer_kinds()) {
    inject(
        kind.name, [&] { return Training(kind); }, [](Training& t) { t.optimizer->step(); });
    inject(
        std::string(kind.name) + ", strided", [&] { return Training(kind, true); },
        [](Training& t) { t.optimizer->step(); });
    inject(
        std::string(kind.name) + ", clipped", [&] { return Training(kind); },
        [](Training& t) {
          t.optimizer->max_norm = .1;
          t.optimizer->step();
        });
  }
}

// Starts the threads for a parameter longer than a task of a thread, behind shorter ones.
TEST_F(FailingStep, AStepThatStartsThreads) {
  const auto make = [] {
    set_num_threads(1);
    return Training(tests::optimizer_kinds()[4], false, 1 << 13);
  };
  inject("threads", make, [](Training& t) {
    set_num_threads(2);
    t.optimizer->step();
  });
  set_num_threads(1);
}

TEST_F(FailingStep, ClippingScalingAndAverages) {
  const auto kind = tests::optimizer_kinds()[4];
  for (const bool strided : {false, true}) {
    const auto make = [&] { return Training(kind, strided); };
    inject("clip_grad_norm", make, [](Training& t) { optim::clip_grad_norm(t.parameters, .1); });
    inject("clip_grad_value", make, [](Training& t) { optim::clip_grad_value(t.parameters, .1); });
    inject("GradScaler", make, [](Training& t) { EXPECT_TRUE(t.scaler.step(*t.optimizer)); });
    inject("Ema::update", make, [](Training& t) { t.ema->update(); });
    inject("Ema::swap", make, [](Training& t) { t.ema->swap(); });
  }
  inject(
      "GradScaler, not finite",
      [&] {
        Training t(kind);
        t.parameters[0].grad().fill_(1e38), t.parameters[0].grad().copy_(t.parameters[0].grad() * 1e38);
        return t;
      },
      [](Training& t) { EXPECT_FALSE(t.scaler.step(*t.optimizer)); });
}

TEST_F(FailingStep, Loading) {
  const auto path = std::filesystem::temp_directory_path() / ("failing_step_" + std::to_string(getpid()));
  const auto kind = tests::optimizer_kinds()[4];
  const auto model = [](const Training& t) {
    StateDict state;
    for (std::size_t i = 0; i < t.parameters.size(); ++i) state.emplace(std::to_string(i), t.parameters[i]);
    return state;
  };
  Training saved(kind);
  for (int i = 0; i < 3; ++i) saved.give(false), saved.scaler.step(*saved.optimizer), saved.ema->update();
  save_checkpoint(path, model(saved), *saved.optimizer, {{"epoch", "3"}}, {&saved.scaler, &*saved.ema});
  const StateDict state = saved.optimizer->state_dict();
  const auto make = [&] { return Training(kind); };
  inject("load_checkpoint", make, [&](Training& t) {
    load_checkpoint(path, model(t), *t.optimizer, {&t.scaler, &*t.ema});
  });
  inject("load_state_dict", make, [&](Training& t) { t.optimizer->load_state_dict(state); });
  inject("load_state", make, [&](Training& t) { load_state("state", model(t), model(saved)); });
  std::filesystem::remove(path);
}

}  // namespace
