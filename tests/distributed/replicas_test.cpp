// Data-parallel training: each rank computes alone what the group computes together, and both must have the
// same bits. That a process alone is right is compared with one ordinary backward pass in f64.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/distributed/group.h"

using namespace bobbin;
using testing::HasSubstr;
using tests::group;
using tests::message;

namespace {

struct Net {
  explicit Net(double dropout = 0.25, DType dtype = DType::f32) : drop(dropout) { nn::to(*this, dtype); }
  nn::Linear first{6, 16}, second{16, 3};
  nn::BatchNorm norm{16};
  nn::Dropout drop;
  Tensor operator()(const Tensor& x) const { return second(drop(relu(norm(first(x))))); }
  void each(nn::Visit& v) { v("first", first), v("norm", norm), v("drop", drop), v("second", second); }
};

Net made(double dropout = 0.25, DType dtype = DType::f32) {
  const GeneratorScope draws({3, 0});
  return Net(dropout, dtype);
}

// A batch of all ranks together.
Batch batch(std::int64_t rows, std::uint64_t number, DType dtype = DType::f32) {
  const GeneratorScope draws({11, number << 20});
  const Tensor x = to(randn({rows, 6}, DType::f64), dtype);
  return {x, randint(0, 3, {rows})};
}

std::function<Tensor(const dist::Shard&)> loss_on(const Net& net, const Batch& all) {
  return [&net, all](const dist::Shard& s) {
    return cross_entropy(net(slice(all[0], 0, s.first, s.first + s.count)),
                         slice(all[1], 0, s.first, s.first + s.count));
  };
}

std::vector<double> elements(const std::vector<Tensor>& tensors) {
  std::vector<double> out;
  for (const Tensor& t : tensors) {
    const auto v = t.to_vector<double>();
    out.insert(out.end(), v.begin(), v.end());
  }
  return out;
}

template<class M>
std::vector<double> state(M& model) {
  std::vector<Tensor> all;
  for (auto& [name, t] : nn::state_dict(model)) all.push_back(t);
  return elements(all);
}

// Runs `train` with a process alone and with the group, each with a model of its own; expects the same state.
template<class Train>
void expect_same(Train train, const dist::ReplicasOptions& options = {}) {
  std::vector<std::vector<double>> states;
  std::uint64_t draws[2];
  for (const bool together : {false, true}) {
    manual_seed(5);
    Net net = made();
    dist::Replicas replicas(net, options, together ? group() : dist::Group());
    train(net, replicas, together ? group() : dist::Group());
    replicas.check();
    states.push_back(state(net));
    draws[together] = default_generator().draws;
  }
  EXPECT_EQ(states[0], states[1]);
  EXPECT_EQ(draws[0], draws[1]);
  for (const double x : states[0]) ASSERT_TRUE(std::isfinite(x));
}

TEST(Replicas, AloneTheGradientIsThatOfTheBatch) {
  for (const std::int64_t rows : {24, 29}) {
    Net net = made(0, DType::f64);
    nn::eval(net);
    const Batch all = batch(rows, 1, DType::f64);
    dist::Replicas replicas(net, {.shards = 5}, dist::Group());
    const Tensor mean = replicas.backward(rows, loss_on(net, all));
    const auto params = nn::parameters(net);
    std::vector<Tensor> got;
    for (const Tensor& p : params) got.push_back(p.grad());
    const Tensor loss = cross_entropy(net(all[0]), all[1]);
    const auto right = elements(grad(loss, params)), sums = elements(got);
    EXPECT_NEAR(mean.item(), loss.item(), 1e-14);
    ASSERT_EQ(right.size(), sums.size());
    for (std::size_t i = 0; i < right.size(); ++i) EXPECT_NEAR(sums[i], right[i], 1e-14);
  }
}

// 5 rows are fewer than shards; 8 shards, 6 of which the ranks divide unevenly.
TEST(Replicas, TrainingHasTheBitsOfOneProcess) {
  for (const std::int64_t shards : {8, 6})
    for (const std::int64_t bucket : {std::int64_t{1}, std::int64_t{100}, std::int64_t{32} << 20})
      expect_same(
          [](Net& net, dist::Replicas& replicas, const dist::Group&) {
            optim::Adam adam(nn::parameters(net), {.lr = 0.02});
            for (std::uint64_t i = 0; i < 12; ++i) {
              adam.zero_grad();
              const std::int64_t rows = i == 5 ? 17 : 32;
              replicas.backward(rows, loss_on(net, batch(rows, i)));
              adam.step();
            }
          },
          {.shards = shards, .bucket_bytes = bucket});
}

TEST(Replicas, LossOfFewerRowsThanShards) {
  Net net = made(0);
  nn::eval(net);
  std::vector<double> losses;
  for (const bool together : {false, true}) {
    dist::Replicas replicas(net, {}, together ? group() : dist::Group());
    losses.push_back(replicas.backward(3, loss_on(net, batch(3, 1))).item());
    losses.push_back(replicas.backward(1, loss_on(net, batch(1, 2))).item());
  }
  EXPECT_EQ(losses[0], losses[2]);
  EXPECT_EQ(losses[1], losses[3]);
  EXPECT_EQ(losses[1], static_cast<double>(cross_entropy(net(batch(1, 2)[0]), batch(1, 2)[1]).item<float>()));
}

TEST(Replicas, AccumulationClippingAndEmaHaveTheBitsOfOneProcess) {
  expect_same([](Net& net, dist::Replicas& replicas, const dist::Group&) {
    optim::Sgd sgd(nn::parameters(net), {.lr = 0.1, .momentum = 0.9});
    optim::Ema ema(nn::parameters(net), 0.9);
    for (std::uint64_t i = 0; i < 6; ++i) {
      sgd.zero_grad();
      for (std::uint64_t part = 0; part < 3; ++part) {
        const Batch b = batch(24, 10 * i + part);
        replicas.backward(24, [&](const dist::Shard& s) { return loss_on(net, b)(s) / 3; });
      }
      optim::clip_grad_norm(sgd.parameters(), 0.1);
      sgd.step();
      ema.update();
    }
    ema.swap();  // the state that is compared is that of the averages
  });
}

// The third batch overflows f16-like limits: all ranks must leave out the same step.
TEST(Replicas, OneScalerServesAllRanks) {
  expect_same([](Net& net, dist::Replicas& replicas, const dist::Group& g) {
    optim::Adam adam(nn::parameters(net), {.lr = 0.02});
    optim::GradScaler scaler;
    scaler.scale_factor = 1024, scaler.patience = 3;
    int skipped = 0;
    for (std::uint64_t i = 0; i < 8; ++i) {
      adam.zero_grad();
      const Batch b = batch(32, i);
      replicas.backward(32, [&](const dist::Shard& s) {
        const Autocast half(DType::bf16);
        Tensor loss = loss_on(net, b)(s);
        // One shard alone is not finite.
        if (i == 2 && s.index == 7) loss = loss * 1e38 * 1e38;
        return scaler.scale(loss);
      });
      if (!scaler.step(adam)) ++skipped;
    }
    EXPECT_EQ(skipped, 1) << g.rank();
  });
}

TEST(Replicas, UnusedParametersAndThoseOfSomeShards) {
  Tensor used = ones({3}).set_requires_grad(), some = ones({2}).set_requires_grad(),
         none = ones({4}).set_requires_grad(), frozen = ones({5});
  const auto loss = [&](const dist::Shard& s) {
    Tensor l = sum(used * (static_cast<double>(s.index) + 0.3));
    if (s.index == 5) l = l + sum(some * -0.0) + sum(some * 1.7);  // on one rank
    return l;
  };
  std::vector<std::vector<double>> all;
  for (const bool together : {false, true}) {
    for (Tensor* t : {&used, &some, &none}) t->set_grad({});
    dist::Replicas replicas({used, some, none, frozen}, {}, {}, together ? group() : dist::Group());
    replicas.backward(16, loss);
    all.push_back(elements({used.grad(), some.grad()}));
    EXPECT_FALSE(none.grad());
    EXPECT_FALSE(frozen.grad());
  }
  EXPECT_EQ(all[0], all[1]);
  EXPECT_FLOAT_EQ(static_cast<float>(all[0][3]), 1.7f / 8);
}

TEST(Replicas, SixteenBitGradientsAreAddedInF32) {
  Tensor w = ones({1}, DType::bf16).set_requires_grad();
  for (const bool together : {false, true}) {
    w.set_grad({});
    dist::Replicas replicas({w}, {}, {}, together ? group() : dist::Group());
    // 32 and seven times 1/16 times 8 shards: bf16 would lose each of the seven.
    replicas.backward(8, [&](const dist::Shard& s) { return sum(w * (s.index == 0 ? 256.0 : 0.5)); });
    EXPECT_EQ(w.grad().item(), static_cast<double>(static_cast<float>(BFloat16(32.4375f))));
    EXPECT_EQ(w.grad().dtype(), DType::bf16);
  }
}

TEST(Replicas, RunningStatisticsAreTheMeanOverAllShards) {
  Net net = made(0);
  const Batch all = batch(32, 4);
  std::vector<double> mean(16), var(16);
  for (std::int64_t s = 0; s < 8; ++s) {
    Net copy = made(0);
    copy(slice(all[0], 0, 4 * s, 4 * s + 4));
    for (std::size_t c = 0; c < 16; ++c) {
      mean[c] += copy.norm.running_mean.at({static_cast<std::int64_t>(c)}) / 8;
      var[c] += copy.norm.running_var.at({static_cast<std::int64_t>(c)}) / 8;
    }
  }
  dist::Replicas replicas(net, {}, group());
  replicas.backward(32, loss_on(net, all));
  for (std::size_t c = 0; c < 16; ++c) {
    EXPECT_FLOAT_EQ(static_cast<float>(net.norm.running_mean.at({static_cast<std::int64_t>(c)})),
                    static_cast<float>(mean[c]));
    EXPECT_FLOAT_EQ(static_cast<float>(net.norm.running_var.at({static_cast<std::int64_t>(c)})),
                    static_cast<float>(var[c]));
  }
}

// Transforms draw, the last batch is smaller, and the data are shuffled.
TEST(Replicas, TheLoaderGivesEachRankItsShards) {
  expect_same([](Net& net, dist::Replicas& replicas, const dist::Group&) {
    const auto data = transformed(std::make_shared<const TensorDataset>(batch(90, 1)), [](Batch b) {
      b[0] = b[0] + randn(b[0].shape()) * 0.1;
      return b;
    });
    DataLoader loader(data, {.batch_size = 24, .seed = 9, .shards = replicas.shards()});
    optim::Adam adam(nn::parameters(net), {.lr = 0.02});
    for (int epoch = 0; epoch < 3; ++epoch)
      for (auto& b : loader) {
        adam.zero_grad();
        replicas.backward(b, [&](const Batch& shard) { return cross_entropy(net(shard[0]), shard[1]); });
        adam.step();
      }
  });
}

TEST(Loader, ShardsTogetherAreTheBatch) {
  const auto data = std::make_shared<const TensorDataset>(std::vector{arange(53)});
  DataLoader whole(data, {.batch_size = 20, .seed = 4});
  std::vector<std::vector<std::int64_t>> right, got(3);
  for (auto& b : whole) right.push_back(b[0].to_vector<std::int64_t>());
  for (const Shards& s : {Shards{0, 2, 7}, Shards{2, 3, 7}, Shards{3, 7, 7}}) {
    DataLoader part(data, {.batch_size = 20, .seed = 4, .shards = s});
    std::size_t i = 0;
    for (auto& b : part) {
      const auto v = b[0].to_vector<std::int64_t>();
      got[i].insert(got[i].end(), v.begin(), v.end());
      ++i;
    }
  }
  EXPECT_EQ(got, right);
  EXPECT_THROW(DataLoader(data, {.shards = {2, 2, 4}}), ValueError);
  EXPECT_THROW(DataLoader(data, {.shards = {0, 5, 4}}), ValueError);
}

TEST(Replicas, AFailedPassLeavesGradientsAndBuffers) {
  Net net = made();
  dist::Replicas replicas(net, {}, group());
  replicas.backward(32, loss_on(net, batch(32, 1)));
  std::vector<Tensor> grads;
  for (const Tensor& p : nn::parameters(net)) grads.push_back(p.grad());
  const auto before = elements(grads), buffers = state(net);
  const Batch b = batch(32, 2);
  EXPECT_THROW(replicas.backward(32,
                                 [&](const dist::Shard& s) {
                                   loss_on(net, b)(s);
                                   if (s.index % 2 == 1 || group().size() == 8)
                                     throw IndexError("no such row");
                                   return loss_on(net, b)(s);
                                 }),
               IndexError);
  EXPECT_THROW(replicas.backward(
                   32, [&](const dist::Shard& s) { return net(slice(b[0], 0, s.first, s.first + s.count)); }),
               ShapeError);
  grads.clear();
  for (const Tensor& p : nn::parameters(net)) grads.push_back(p.grad());
  EXPECT_EQ(elements(grads), before);
  EXPECT_EQ(state(net), buffers);
}

TEST(Replicas, DifferencesBetweenRanksAreErrors) {
  if (group().size() == 1) GTEST_SKIP() << "one rank";
  const bool last = group().rank() == group().size() - 1;
  const std::string other = "rank " + std::to_string(group().size() - 1);
  Tensor w = full({3}, group().rank() + 1).set_requires_grad();
  dist::Replicas replicas({w}, {}, {}, group());
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{1, 1, 1}));  // rank 0's
  const auto loss = [&](const dist::Shard&) { return sum(w); };
  EXPECT_THAT(message<ValueError>([&] { replicas.backward(last ? 16 : 24, loss); }),
              testing::AllOf(HasSubstr("rows"), HasSubstr("24"), HasSubstr("16"), HasSubstr(other)));
  EXPECT_THAT(message<ValueError>([&] {
                const GeneratorScope draws({last ? 1u : 2u, 0});
                replicas.backward(16, loss);
              }),
              testing::AllOf(HasSubstr("seed"), HasSubstr(other)));
  EXPECT_THAT(message<ValueError>([&] { dist::Replicas({w}, {.shards = last ? 16 : 8}, {}, group()); }),
              testing::AllOf(HasSubstr("shards"), HasSubstr(other)));
  EXPECT_THAT(message<ValueError>([&] { dist::Replicas({last ? ones({4}) : ones({5})}, {}, {}, group()); }),
              testing::AllOf(HasSubstr("f32[4]"), HasSubstr("f32[5]"), HasSubstr("parameter 0")));
  EXPECT_THROW(dist::Replicas({w}, {.shards = group().size() - 1}, {}, group()), ValueError);
  replicas.check();
  if (last) Tensor(w.detach()).fill_(2);
  EXPECT_THAT(message<ValueError>([&] { replicas.check(); }),
              testing::AllOf(HasSubstr("parameter 0"), HasSubstr(other)));
  const Batch wrong{ones({last ? 2 : 4, 2})};
  EXPECT_THAT(message<ShapeError>([&] { replicas.backward(wrong, [&](const Batch&) { return sum(w); }); }),
              HasSubstr("DataLoader"));
}

TEST(Replicas, AnyNaNCountsAsTheSame) {
  Tensor w = full({3}, std::nan(""));
  w.mutable_data<float>()[1] = std::bit_cast<float>(0x7fc0'0000u + static_cast<unsigned>(group().rank()));
  dist::Replicas({w}, {}, {}, group()).check();
}

TEST(Replicas, TheEnginesOwnSumIsClose) {
  Net net = made(0);
  const Batch b = batch(64, 1);
  std::vector<std::vector<double>> all;
  for (const bool exact : {true, false}) {
    for (const Tensor& p : nn::parameters(net)) Tensor(p).set_grad({});
    dist::Replicas replicas(net, {.exact = exact}, group());
    replicas.backward(64, loss_on(net, b));
    std::vector<Tensor> grads;
    for (const Tensor& p : nn::parameters(net)) grads.push_back(p.grad());
    all.push_back(elements(grads));
  }
  for (std::size_t i = 0; i < all[0].size(); ++i) EXPECT_NEAR(all[0][i], all[1][i], 1e-6);
}

}  // namespace
