// Models as plain structs: names of parts, moves between devices, modes and saving; and the layers against
// their definitions.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace bobbin;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

struct Net {
  nn::Conv2d conv{1, 4, 3};
  nn::BatchNorm norm{4};
  nn::Sequential head{nn::Flatten(), nn::Linear(16, 8), relu, nn::Dropout(.5), nn::Linear(8, 3, false)};
  Tensor operator()(const Tensor& x) const { return head(max_pool2d(norm(conv(x)), 2)); }
  void each(nn::Visit& v) { v("conv", conv), v("norm", norm), v("head", head); }
};

std::vector<std::string> names(const StateDict& s) {
  std::vector<std::string> out;
  for (auto& [name, t] : s) out.push_back(name);
  return out;
}

TEST(Module, NamesItsParts) {
  Net net;
  EXPECT_THAT(names(nn::named_parameters(net)),
              ElementsAre("conv.bias", "conv.weight", "head.1.bias", "head.1.weight", "head.4.weight",
                          "norm.bias", "norm.weight"));
  EXPECT_EQ(nn::state_dict(net).size(), 9U);
  EXPECT_EQ(nn::num_parameters(net), 36 + 4 + 4 + 4 + 16 * 8 + 8 + 24);
  const std::string tree = nn::summary(net);
  EXPECT_THAT(tree, HasSubstr("conv: Conv2d"));
  EXPECT_THAT(tree, HasSubstr("f32[4,1,3,3]"));
  EXPECT_THAT(tree, HasSubstr("208 parameters, 8 numbers in buffers"));
}

TEST(Module, TrainsAndEvaluates) {
  manual_seed(3);
  Net net;
  const Tensor x = randn({6, 1, 6, 6});
  nn::eval(net);
  EXPECT_EQ(net(x).to_vector<float>(), net(x).to_vector<float>());
  const auto before = net.norm.running_mean.to_vector<float>();
  nn::train(net);
  EXPECT_NE(net(x).to_vector<float>(), net(x).to_vector<float>());
  EXPECT_NE(net.norm.running_mean.to_vector<float>(), before);
}

TEST(Module, TakesAStateOrNothing) {
  manual_seed(3);
  Net a, b;
  const Tensor x = randn({2, 1, 6, 6});
  nn::eval(a), nn::eval(b);
  EXPECT_NE(a(x).to_vector<float>(), b(x).to_vector<float>());
  nn::load_state_dict(b, nn::state_dict(a));
  EXPECT_EQ(a(x).to_vector<float>(), b(x).to_vector<float>());
  auto wrong = nn::state_dict(a);
  wrong.erase("conv.bias");
  wrong["norm.weight"] = zeros({2});
  EXPECT_THROW(nn::load_state_dict(b, wrong), FormatError);
}

TEST(Module, MovesToAnotherDtypeAndKeepsTies) {
  struct Tied {
    nn::Linear a{3, 3, false}, b = a;
    void each(nn::Visit& v) { v("a", a), v("b", b); }
  } tied;
  EXPECT_EQ(nn::parameters(tied).size(), 1U);
  nn::to(tied, DType::f64);
  EXPECT_EQ(tied.b.weight.dtype(), DType::f64);
  EXPECT_TRUE(tied.b.weight.requires_grad());
  EXPECT_EQ(nn::parameters(tied).size(), 1U);
}

TEST(Layers, NormalizeAsTheyShould) {
  manual_seed(1);
  const Tensor x = randn({4, 6}) * 3 + 2;
  const Tensor y = nn::LayerNorm({6})(x);
  for (const float m : mean(y, {1}).to_vector<float>()) EXPECT_NEAR(m, 0, 1e-6);
  for (const float v : var(y, {1}, 0).to_vector<float>()) EXPECT_NEAR(v, 1, 1e-4);
  for (const float v : mean(square(nn::RMSNorm({6})(x)), {1}).to_vector<float>()) EXPECT_NEAR(v, 1, 1e-4);
  // PyTorch's numbers for batch_norm([[1, 2], [3, 6]]), momentum 0.1.
  nn::BatchNorm norm(2);
  const auto z = norm(tensor({{1, 2}, {3, 6}})).to_vector<float>();
  EXPECT_NEAR(z[0], -0.99999500, 1e-6);
  EXPECT_NEAR(z[3], 0.99999875, 1e-6);
  EXPECT_NEAR(norm.running_mean.to_vector<float>()[1], .4, 1e-6);
  EXPECT_NEAR(norm.running_var.to_vector<float>()[1], .9 + .1 * 8, 1e-6);
}

TEST(Layers, ATransformerSeesOnlyThePast) {
  manual_seed(2);
  const nn::TransformerBlock block(8, 2);
  const Tensor x = randn({1, 5, 8});
  const auto whole = block(x, true);
  const auto start = block(slice(x, 1, 0, 3), true);
  const auto a = slice(whole, 1, 0, 3).to_vector<float>(), b = start.to_vector<float>();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
  EXPECT_THROW(nn::MultiheadAttention(8, 3), ValueError);
}

TEST(Layers, SmallConvolutionalNetworksLearn) {
  manual_seed(4);
  // Which half of the picture is bright.
  const Tensor left = full({32, 1, 6, 3}, 1), right = zeros({32, 1, 6, 3});
  const Tensor x =
      concat({concat({left, right}, 3), concat({right, left}, 3)}, 0) + randn({64, 1, 6, 6}) * .3;
  const Tensor t = concat({zeros({32}, DType::i64), ones({32}, DType::i64)}, 0);
  Net net;
  optim::AdamW adam(nn::parameters(net), {.lr = .01});
  for (int i = 0; i < 40; ++i) {
    adam.zero_grad();
    backward(cross_entropy(net(x), t));
    adam.step();
  }
  nn::eval(net);
  EXPECT_EQ(sum(to(eq(argmax(net(x), 1), t), DType::i64)).item<std::int64_t>(), 64);
}

}  // namespace
