// Fails each allocation of training steps and of what goes with them, one after the other. A step must throw
// std::bad_alloc or OutOfMemory, leave parameters, gradients and tape as they were, leak nothing, and work
// when it is tried again.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "tests/autograd/failing_allocations.h"

using namespace bobbin;
using namespace bobbin::tests;

namespace {

using Numbers = std::vector<double>;

// A step, which adds to the gradients of the leaves, and the leaves.
struct Scene {
  std::vector<Tensor> leaves;
  std::function<void()> step;
};

Numbers numbers(const std::vector<Tensor>& tensors) {
  Numbers all;
  for (const Tensor& t : tensors) {
    if (!t) {
      all.push_back(-12345);
      continue;
    }
    const auto v = t.to_vector<double>();
    all.insert(all.end(), v.begin(), v.end());
  }
  return all;
}

std::vector<Tensor> gradients(const Scene& s) {
  std::vector<Tensor> grads;
  for (const Tensor& x : s.leaves) grads.push_back(x.grad());
  return grads;
}

void set_gradients(Scene& s, const std::vector<Tensor>& to) {
  for (std::size_t i = 0; i < s.leaves.size(); ++i) s.leaves[i].set_grad(to[i] ? clone(to[i]) : Tensor());
}

std::int64_t injected = 0;

// `again` runs what is left to do after f has thrown.
void inject(
    const std::string& name, Scene s, const std::function<void()>& before_each = [] {}) {
  const Numbers parameters = numbers(s.leaves);
  const std::vector<Tensor> none(s.leaves.size());
  before_each();
  set_gradients(s, none), s.step();  // also fills what is kept for later calls
  const auto first = gradients(s);
  for (const auto& start : {none, first}) {
    set_gradients(s, start), before_each(), s.step();
    const Numbers expected = numbers(gradients(s));
    for (const Fails mode : {Fails::once, Fails::from_then}) {
      std::int64_t held = -1;
      for (std::int64_t n = 0;; ++n) {
        set_gradients(s, start);
        before_each();
        const auto grads = gradients(s);
        const std::int64_t at_start = blocks;
        const Outcome outcome = failing(n, mode, s.step);
        const std::string where =
            name + ", allocation " + std::to_string(n) + (mode == Fails::once ? " alone" : " and later");
        ASSERT_NE(outcome, Outcome::wrong) << where << ": another exception";
        if (outcome == Outcome::threw) {
          ASSERT_TRUE(reached) << where << ": it threw without a failure";
          for (std::size_t i = 0; i < s.leaves.size(); ++i)
            ASSERT_TRUE(s.leaves[i].grad().operator bool() == bool(grads[i]) &&
                        (!grads[i] || s.leaves[i].grad().raw() == grads[i].raw()))
                << where << ": gradient " << i << " was replaced";
          ASSERT_EQ(numbers(gradients(s)), numbers(grads)) << where << ": a gradient changed";
          if (held < 0) held = blocks - at_start;
          ASSERT_EQ(blocks - at_start, held) << where << ": memory leaks";
          s.step();
        }
        ASSERT_EQ(numbers(gradients(s)), expected) << where << ": the second try gave another result";
        ASSERT_EQ(numbers(s.leaves), parameters) << where << ": a parameter changed";
        if (!reached) break;
        ++injected;
      }
    }
  }
}

struct FailingAllocation : testing::Test {
  ~FailingAllocation() override { set_num_threads(before); }
  int before = num_threads();
  static void TearDownTestSuite() {
    std::printf("%lld failures injected\n", static_cast<long long>(injected));
  }
};

struct Mlp {
  nn::Linear first{6, 5}, second{5, 3};
  Tensor x = randn({4, 6}), labels = tensor({0, 2, 1, 1}, DType::i64);
  std::vector<Tensor> leaves() const { return {first.weight, first.bias, second.weight, second.bias}; }
  Tensor loss() const { return cross_entropy(second(first(x, Activation::relu)), labels); }
};

TEST_F(FailingAllocation, StepOfAnMlp) {
  const Mlp m;
  inject("mlp", {m.leaves(), [&] { backward(m.loss()); }});
}

TEST_F(FailingAllocation, BackwardLeavesATapeThatIsRetained) {
  const Mlp m;
  Tensor loss;
  inject("backward", {m.leaves(), [&] { backward(loss, Retain::yes); }}, [&] { loss = m.loss() * 2; });
  const Tensor x = randn({3}, DType::f64).set_requires_grad();
  Tensor y;
  inject("backward of a checkpoint", {{x}, [&] { backward(y, Retain::yes); }},
         [&] { y = sum(checkpoint([](Inputs in) { return tanh(exp(in[0])); }, {square(x)}) * 2); });
}

TEST_F(FailingAllocation, StepOfACnn) {
  const nn::Conv2d conv(1, 2, 3, {{.padding = 1}});
  const nn::Linear out(8, 3);
  const Tensor x = randn({2, 1, 4, 4}), labels = tensor({0, 2}, DType::i64);
  inject("cnn", {{conv.weight, conv.bias, out.weight, out.bias}, [&] {
                   const Tensor h = max_pool2d(conv(x, Activation::relu), 2);
                   backward(cross_entropy(out(reshape(h, {2, 8})), labels));
                 }});
}

TEST_F(FailingAllocation, StepOfAnLstm) {
  nn::LSTM lstm(2, 3);
  const Tensor x = randn({2, 3, 2});
  inject("lstm", {nn::parameters(lstm), [&] { backward(sum(square(lstm(x).y))); }});
}

TEST_F(FailingAllocation, Checkpoint) {
  const Mlp m;
  inject("checkpoint", {m.leaves(), [&] {
                          const auto f = [&](Inputs in) {
                            return m.second(m.first(in[0], Activation::relu));
                          };
                          backward(cross_entropy(checkpoint(f, {m.x}), m.labels));
                        }});
  const Tensor w = randn({6}).set_requires_grad();
  inject("checkpoint with an input", {{w}, [&] {
                                        const auto f = [](Inputs in) { return exp(in[0]) * in[0]; };
                                        backward(sum(checkpoint(f, {w * 2})));
                                      }});
}

TEST_F(FailingAllocation, Hooks) {
  Mlp m;
  inject("hooks", {m.leaves(), [&] {
                     Tensor h = m.first(m.x);
                     h.retain_grad();
                     int second = 0;
                     h.register_hook([&](const Tensor& g) {
                       h.remove_hook(second);
                       return g * 2;
                     });
                     second = h.register_hook([](const Tensor& g) { return g * 3; });
                     backward(cross_entropy(m.second(relu(h)), m.labels));
                     h = Tensor();  // its hook refers to it
                   }});
}

TEST_F(FailingAllocation, HigherOrders) {
  const Tensor x = randn({3}, DType::f64).set_requires_grad();
  inject("grad of grad", {{x}, [&] {
                            const Tensor g = grad(sum(exp(x) * x), {x}, {}, CreateGraph::yes)[0];
                            backward(sum(square(g)));
                          }});
}

TEST_F(FailingAllocation, Profiler) {
  const Mlp m;
  inject("profiler", {m.leaves(), [&] {
                        Profiler outer;
                        Profiler profiler;
                        const ProfileSpan span("step with a name that is longer than a short string");
                        const Tensor loss = m.loss();
                        EXPECT_GT(profiler.events().size(), 2u);
                        EXPECT_FALSE(profiler.table().empty());
                        backward(loss);
                      }});
}

TEST_F(FailingAllocation, Printing) {
  const Tensor x = randn({3, 4}), whole = arange(2000), none;
  const std::string expected = to_string(x) + to_string(whole) + to_string(none);
  inject("printing", {{}, [&] {
                        const std::string text = to_string(x) + to_string(whole) + to_string(none);
                        if (text != expected) throw std::logic_error("the text is incomplete");
                      }});
}

TEST_F(FailingAllocation, Loader) {
  const auto data = std::make_shared<TensorDataset>(std::vector{randn({7, 2}), arange(7)});
  for (const int prefetch : {0, 2}) {
    DataLoader loader(data, {.batch_size = 3, .shuffle = true, .seed = 5, .prefetch = prefetch});
    const auto epoch = [&] {
      std::vector<Tensor> batches;
      for (const auto& batch : loader) batches.insert(batches.end(), batch.begin(), batch.end());
      return numbers(batches);
    };
    loader.epoch = 4;
    const Numbers expected = epoch();
    inject("loader", {{}, [&] {
                        const auto now = loader.epoch;
                        try {
                          loader.epoch = 4;
                          if (epoch() != expected) throw std::logic_error("a batch is missing");
                        } catch (...) {
                          loader.epoch = now;
                          throw;
                        }
                      }});
    // An epoch that could not begin is not skipped.
    for (std::int64_t n = 0; n < 5; ++n) {
      loader.epoch = 4;
      if (failing(n, Fails::from_then, [&] { loader.begin(); }) == Outcome::threw) {
        EXPECT_EQ(loader.epoch, 4) << "prefetch " << prefetch << ", allocation " << n;
      }
    }
  }
}

TEST_F(FailingAllocation, StartingThreads) {
  inject("threads", {{}, [] {
                       for (const int threads : {4, 2}) {
                         set_num_threads(threads);
                         std::atomic<int> calls = 0;
                         parallel_for(10, [&](std::int64_t) { ++calls; });
                         if (calls != 10) throw std::logic_error("a tile is missing");
                       }
                     }});
}

TEST_F(FailingAllocation, TilesThatAllocate) {
  set_num_threads(3);
  inject("tiles", {{}, [] {
                     std::atomic<std::int64_t> sum = 0;
                     parallel_for(20,
                                  [&](std::int64_t i) { sum += std::vector<std::int64_t>(100, i).back(); });
                     if (sum != 190) throw std::logic_error("a tile is missing");
                   }});
}

// What ends a tape has no way to report a failure, so it must not allocate.
TEST_F(FailingAllocation, ATapeEndsWithoutAllocating) {
  const Tensor x = randn({2}).set_requires_grad();
  Tensor chain = x, tree = x;
  for (int i = 0; i < 5000; ++i) chain = exp(chain) * 0;
  for (int i = 0; i < 12; ++i) tree = tree * tree + tree;
  Tensor y = sum(chain), joined = concat(std::vector<Tensor>(100, tree), 0);
  const auto end = [&] { chain = tree = y = joined = Tensor(); };
  EXPECT_EQ(failing(0, Fails::from_then, end), Outcome::done);
  EXPECT_FALSE(reached) << "something was allocated";
}

}  // namespace
