// Training on a GPU: steps that only enqueue, and captured steps with the same results as eager steps.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

struct Config {
  Device device = gpu;
  double dropped = 0;  // probability
  bool wait_inside = false;
};

/// An MLP 784-256-128-10, its optimizer and a batch of random data: the same numbers on every device.
class Training {
 public:
  explicit Training(const Config& config) : config_(config), layers_(make_layers(config.device)) {
    images_ = to(rand({512, 784}), config.device);
    labels_ = to(randint(0, 10, {512}), config.device);
    batch_ = zeros({128}, DType::i64, config.device);
    loss_ = zeros({}, DType::f32, config.device);
    adam_ = std::make_unique<optim::Adam>(parameters());
    next_batch();
  }

  void step() { step(batch_); }
  void step(const Tensor& batch) {
    const auto hidden = [&](const nn::Linear& layer, const Tensor& x) {
      return dropout(layer(x, Activation::relu), config_.dropped);
    };
    const Tensor x = index_select(images_, 0, batch), y = index_select(labels_, 0, batch);
    const Tensor logits = layers_[2](hidden(layers_[1], hidden(layers_[0], x)));
    const Tensor loss = cross_entropy(logits, y);
    if (config_.wait_inside) loss.item();
    adam_->zero_grad();
    backward(loss);
    adam_->step();
    loss_.copy_(loss.detach());
  }
  /// What happens between steps: other images, another learning rate.
  void next_batch() {
    batch_.copy_(slice(randperm(512, config_.device), 0, 0, 128));
    adam_->lr = 1e-3 / (1 + 0.1 * count_++);
  }
  void run(int steps, const std::function<void()>& f) {
    for (int i = 0; i < steps; ++i) {
      f();
      next_batch();
    }
  }
  void run(int steps) {
    run(steps, [this] { step(); });
  }

  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all;
    for (auto& l : layers_) all.insert(all.end(), {l.weight, l.bias});
    return all;
  }
  std::vector<float> weights() const {
    std::vector<float> all;
    for (auto& p : parameters()) {
      const auto v = p.to_vector<float>();
      all.insert(all.end(), v.begin(), v.end());
    }
    return all;
  }
  double loss() const { return loss_.item(); }
  optim::Adam& adam() { return *adam_; }
  Config& config() { return config_; }

 private:
  static std::vector<nn::Linear> make_layers(Device d) {
    manual_seed(51);
    std::vector<nn::Linear> layers{{784, 256}, {256, 128}, {128, 10}};
    for (auto& l : layers)
      for (Tensor* p : {&l.weight, &l.bias}) *p = to(p->detach(), d).set_requires_grad();
    return layers;
  }

  Config config_;
  std::vector<nn::Linear> layers_;
  Tensor images_, labels_, batch_, loss_;
  std::unique_ptr<optim::Adam> adam_;
  int count_ = 0;
};

using CudaTraining = Cuda;

TEST_F(CudaTraining, AStepWaitsForNothing) {
  Training t({.dropped = 0.2});
  t.run(2);
  const auto before = synchronizations();
  t.run(20);
  EXPECT_EQ(synchronizations(), before);
  EXPECT_TRUE(std::isfinite(t.loss()));
}

TEST_F(CudaTraining, TwoRunsGiveTheSameBits) {
  const auto train = [] {
    Training t({.dropped = 0.2});
    t.run(20);
    return t.weights();
  };
  EXPECT_EQ(train(), train());
}

TEST_F(CudaTraining, FollowsTheCpu) {
  Training here({.device = Device::cpu()});
  std::vector<double> losses;
  here.run(5, [&] {
    here.step();
    losses.push_back(here.loss());
  });
  Training there({});
  int i = 0;
  there.run(5, [&] {
    there.step();
    const double want = losses[static_cast<std::size_t>(i)];
    EXPECT_NEAR(there.loss(), want, 1e-4 * want) << "step " << i;
    ++i;
  });
}

TEST_F(CudaTraining, CapturedStepsGiveTheBitsOfEagerOnes) {
  for (const double dropped : {0.0, 0.3}) {
    Training eager({.dropped = dropped});
    eager.run(20);
    const double loss = eager.loss();
    const auto after_20 = eager.weights();
    eager.run(4);

    Training captured({.dropped = dropped});
    Captured step = capture([&] { captured.step(); });
    const auto before = synchronizations();
    captured.run(20, [&] { step(); });
    EXPECT_EQ(synchronizations(), before);
    EXPECT_TRUE(step.replays());
    EXPECT_EQ(captured.loss(), loss) << "dropout " << dropped;
    EXPECT_EQ(captured.weights(), after_20) << "dropout " << dropped;
    captured.run(2);  // eager ones between
    captured.run(2, [&] { step(); });
    EXPECT_EQ(captured.weights(), eager.weights()) << "dropout " << dropped;
  }
}

// Each has its own learning rate, count of steps and random numbers, in every replay, and in every turn of a
// loop on the GPU.
TEST_F(CudaTraining, StepsCapturedTogetherGiveTheBitsOfEagerOnes) {
  constexpr std::int64_t together = 4, rounds = 12;
  using Drive = std::function<void(Captured&, const std::function<void()>&)>;
  const auto train = [&](const Drive& drive) {
    Training t({.dropped = 0.3});
    t.adam().schedule = optim::Cosine{1e-2, together * rounds, 3};
    const Tensor all = randint(0, 512, {rounds, together, 128}, DType::i64, gpu);
    Tensor round = zeros({1}, DType::i64, gpu);
    const auto steps = [&] {
      const Tensor batches = index_select(all, 0, round);
      for (std::int64_t k = 0; k < together; ++k) t.step(select(select(batches, 0, 0), 0, k));
      round.copy_(round + 1);
    };
    Captured captured = capture(steps);
    drive(captured, steps);
    return std::pair(t.weights(), t.adam().lr);
  };
  const auto eager = train([](Captured&, const std::function<void()>& steps) {
    for (std::int64_t r = 0; r < rounds; ++r) steps();
  });
  const auto replayed = train([](Captured& captured, const auto&) {
    for (std::int64_t r = 0; r < rounds; ++r) captured();
    EXPECT_TRUE(captured.replays());
  });
  EXPECT_EQ(eager, replayed);
  const auto looped = train([](Captured& captured, const auto&) {
    const auto before = synchronizations();
    for (const std::int64_t times : {1, 4, 0, 1, 4, 2}) captured(times);  // the first runs and records
    EXPECT_EQ(synchronizations(), before);
  });
  EXPECT_EQ(eager, looped);
}

TEST(Training, OnTheCpuACapturedStepIsTheStep) {
  const auto train = [](bool capturing) {
    Training t({.device = Device::cpu(), .dropped = 0.3});
    Captured step = capture([&] { t.step(); });
    t.run(4, [&] { capturing ? step() : t.step(); });
    return t.weights();
  };
  EXPECT_EQ(train(true), train(false));
}

TEST_F(CudaTraining, WaitingInACaptureThrowsAndAllGoesOn) {
  Training eager({});
  eager.run(10);
  Training t({.wait_inside = true});
  Captured step = capture([&] { t.step(); });
  t.run(1, [&] { step(); });
  for (int i = 0; i < 2; ++i) {
    try {
      step();
      ADD_FAILURE() << "item() went through";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("inside a captured step"), std::string::npos) << e.what();
    }
  }
  EXPECT_FALSE(step.replays());
  EXPECT_EQ(sum(ones({1000}, DType::f32, gpu)).item(), 1000);
  t.run(3);  // as it is, uncaptured
  t.config().wait_inside = false;
  t.run(3, [&] { step(); });  // the same objects, captured at last
  EXPECT_TRUE(step.replays());
  Captured anew = capture([&] { t.step(); });
  t.run(3, [&] { anew(); });
  EXPECT_TRUE(anew.replays());
  EXPECT_EQ(t.weights(), eager.weights());
}

TEST_F(CudaTraining, HooksMayEditTheOneThatAReplayStartsFrom) {
  Tensor x = ones({3}, DType::f32, gpu);
  x.set_requires_grad();
  Captured step = capture([&] {
    x.set_grad({});
    for (int i = 0; i < 2; ++i) {
      const Tensor loss = sum(x * x);
      Tensor(loss).register_hook([](const Tensor& g) { return Tensor(g).copy_(g * 2); });
      backward(loss);
    }
  });
  for (int i = 0; i < 4; ++i) {
    step();
    EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{8, 8, 8})) << "call " << i;
  }
}

TEST_F(CudaTraining, MemoryIsSteady) {
  for (const bool captures : {false, true}) {
    Training t({.dropped = 0.2});
    Captured step = capture([&] { t.step(); });
    const auto run = [&](int steps) { t.run(steps, [&] { captures ? step() : t.step(); }); };
    run(10);
    const AllocatorStats before = allocator(gpu).stats();
    run(100);
    const AllocatorStats after = allocator(gpu).stats();
    EXPECT_EQ(after.bytes_live, before.bytes_live) << captures;
    EXPECT_EQ(after.bytes_cached, before.bytes_cached) << captures;
    EXPECT_EQ(after.system_calls, before.system_calls) << captures;
  }
}

// Two layers under Autocast that keeps narrow results: on both devices, and in a captured step.
TEST_F(CudaTraining, NarrowResultsOfProducts) {
  manual_seed(12);
  const Tensor x = randn({64, 32}), w = randn({48, 32}) * .2, b = randn({48}), v = randn({101, 48}) * .2,
               t = randint(0, 101, {64});
  const auto gradients = [&](Device d) {
    const Tensor a = to(x, d), target = to(t, d);
    std::vector<Tensor> leaves;
    for (const Tensor& leaf : {w, b, v}) leaves.push_back(to(leaf, d).detach().set_requires_grad());
    const auto step = [a, target, leaves] {
      const Tensor loss = [&] {
        const Autocast scope(DType::bf16, ProductResults::narrow);
        const Tensor h = linear(a, leaves[0], leaves[1], Activation::gelu);
        EXPECT_EQ(h.dtype(), DType::bf16);
        return linear_cross_entropy(layer_norm(h, {48}), leaves[2], target);
      }();
      for (const Tensor& leaf : leaves) Tensor(leaf).set_grad({});
      backward(loss);
    };
    return std::pair(std::function<void()>(step), leaves);
  };
  const auto [there, want] = gradients(Device::cpu());
  const auto [here, got] = gradients(gpu);
  there();
  here();
  std::vector<std::vector<float>> eager;
  for (std::size_t i = 0; i < got.size(); ++i) {
    eager.push_back(got[i].grad().to_vector<float>());
    const Tensor right = want[i].grad(), error = abs(to(got[i].grad(), Device::cpu()) - right);
    EXPECT_LE(max(error).item(), .02 * max(abs(right)).item()) << i;
  }
  Captured captured = capture(here);
  for (int i = 0; i < 3; ++i) captured();
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].grad().to_vector<float>(), eager[i]) << i;
}

}  // namespace
