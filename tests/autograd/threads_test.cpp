// What several threads may do at once. ThreadSanitizer (the preset tsan) runs these tests.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>
#include <vector>

using namespace bobbin;

namespace {

void on_threads(int n, const std::function<void(int)>& f) {
  std::vector<std::jthread> threads;
  for (int id = 0; id < n; ++id) threads.emplace_back([&f, id] { f(id); });
}

struct Threads : testing::Test {
  Threads() { set_num_threads(3); }
  ~Threads() override { set_num_threads(before); }
  int before = num_threads();
};

TEST_F(Threads, BackwardsIntoOneLeafLoseNoGradient) {
  constexpr int threads = 4, rounds = 3000;
  const Tensor x = zeros({5}, DType::f64).set_requires_grad(), w = zeros({5}, DType::f64).set_requires_grad();
  on_threads(threads, [&](int id) {
    for (int i = 0; i < rounds; ++i) backward(sum(x * (id + 1) + w));
  });
  EXPECT_EQ(x.grad().to_vector<double>(), std::vector<double>(5, rounds * (1 + 2 + 3 + 4)));
  EXPECT_EQ(w.grad().to_vector<double>(), std::vector<double>(5, rounds * threads));
}

TEST_F(Threads, BackwardsOfLargeTensorsShareTheTeam) {
  const Tensor x = randn({300, 200}).set_requires_grad(), w = randn({200, 200}).set_requires_grad();
  backward(sum(matmul(x, w)));
  const auto once = w.grad().to_vector<float>();
  Tensor(x).set_grad({}), Tensor(w).set_grad({});
  on_threads(3, [&](int) { backward(sum(matmul(x, w))); });
  const auto thrice = w.grad().to_vector<float>();
  for (std::size_t i = 0; i < once.size(); ++i) ASSERT_FLOAT_EQ(thrice[i], 3 * once[i]);
}

TEST_F(Threads, ARetainedTapeMayBeWalkedByAll) {
  const Tensor x = tensor({1, 2}, DType::f64).set_requires_grad();
  const Tensor y = sum(exp(x) * x);
  const auto expected = grad(y, {x}, {}, CreateGraph::no, Retain::yes)[0].to_vector<double>();
  on_threads(3, [&](int) {
    for (int i = 0; i < 100; ++i)
      EXPECT_EQ(grad(y, {x}, {}, CreateGraph::no, Retain::yes)[0].to_vector<double>(), expected);
  });
}

TEST_F(Threads, TapesEndOnAnyThread) {
  const Tensor x = ones({3}).set_requires_grad();
  Tensor y = x;
  for (int i = 0; i < 1000; ++i) y = exp(y) * 0;
  std::vector<Tensor> heads(4);
  for (auto& head : heads) head = y + 1;
  y = Tensor();
  on_threads(4, [&](int id) { heads[static_cast<std::size_t>(id)] = Tensor(); });
}

TEST_F(Threads, HooksRunOnTheThreadOfTheirPass) {
  Tensor x = ones({4}).set_requires_grad();
  std::atomic<int> calls = 0;
  x.register_hook([&](const Tensor& g) {
    ++calls;
    return g * 2;
  });
  on_threads(4, [&](int) {
    for (int i = 0; i < 50; ++i) {
      Tensor y = x * 3;
      int own = 0;
      own = y.register_hook([&](const Tensor&) {
        y.remove_hook(own);
        return Tensor();
      });
      backward(sum(y));
      y = Tensor();
    }
  });
  EXPECT_EQ(calls, 200);
  EXPECT_EQ(x.grad().to_vector<double>(), std::vector<double>(4, 200 * 6));
}

TEST_F(Threads, EachHasItsProfiler) {
  on_threads(4, [](int id) {
    for (int round = 0; round < 20; ++round) {
      const Profiler profiler;
      const ProfileSpan span("work");
      for (int i = 0; i <= id; ++i) relu(zeros({3}));
      EXPECT_EQ(profiler.events().size(), static_cast<std::size_t>(id + 1));
    }
  });
}

TEST_F(Threads, CheckpointsAndGraphsOfHigherOrder) {
  const Tensor w = full({3}, .5, DType::f64).set_requires_grad();
  const auto f = [&](Inputs in) { return exp(in[0]) * w; };
  const auto gradients = [&] {
    const Tensor g = grad(sum(checkpoint(f, {w * 2})), {w}, {}, CreateGraph::yes)[0];
    return grad(sum(square(g)), {w})[0].to_vector<double>();
  };
  const auto expected = gradients();
  on_threads(4, [&](int) {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(gradients(), expected);
  });
}

TEST_F(Threads, LoadersMakeBatchesAhead) {
  const auto data = std::make_shared<TensorDataset>(std::vector{arange(60), randn({60, 8})});
  const auto noisy = transformed(data, [](Batch b) {
    b[1] = b[1] + randn(b[1].shape());
    return b;
  });
  std::vector<std::vector<double>> sums(3);
  on_threads(3, [&](int id) {
    DataLoader loader(noisy, {.batch_size = 7, .seed = 3, .prefetch = 1 + id});
    for (int epoch = 0; epoch < 3; ++epoch)
      for (const auto& batch : loader) sums[static_cast<std::size_t>(id)].push_back(sum(batch[1]).item());
    for (int epoch = 0; epoch < 5; ++epoch)
      for ([[maybe_unused]] const auto& batch : loader) break;  // ends with batches that nobody takes
  });
  EXPECT_EQ(sums[0].size(), 27u);
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
}

TEST_F(Threads, ThatSeedNothingDrawDifferentNumbers) {
  constexpr int threads = 8;
  std::vector<std::vector<double>> drawn(threads);
  on_threads(threads, [&](int id) {
    drawn[static_cast<std::size_t>(id)] = rand({4}, DType::f64).to_vector<double>();
  });
  {
    const GeneratorScope main_thread({0, 0});
    drawn.push_back(rand({4}, DType::f64).to_vector<double>());
  }
  EXPECT_EQ(std::set(drawn.begin(), drawn.end()).size(), threads + 1u);
  on_threads(threads, [&](int id) {
    manual_seed(7);
    drawn[static_cast<std::size_t>(id)] = rand({4}, DType::f64).to_vector<double>();
  });
  for (int id = 1; id < threads; ++id) EXPECT_EQ(drawn[static_cast<std::size_t>(id)], drawn[0]);
}

TEST_F(Threads, SettingTheNumberOfThreadsMeanwhile) {
  const Tensor x = randn({200, 300}), w = randn({300, 100});
  const auto expected = matmul(x, w).to_vector<float>();
  on_threads(4, [&](int id) {
    for (int i = 0; i < 20; ++i) {
      if (id == 0) set_num_threads(1 + i % 4);
      EXPECT_EQ(matmul(x, w).to_vector<float>(), expected);
      EXPECT_EQ(softmax(x, 1).numel(), 60'000);
    }
  });
}

}  // namespace
