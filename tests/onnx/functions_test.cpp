// Functions that are made of several operations and that ONNX has as one node: which nodes save_onnx writes
// for them, and that these give Bobbin's results when the file is read again.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/temporary_directory.h"
#include "tests/onnx/model.h"

using namespace bobbin;
using testing::ElementsAre;
using testing::HasSubstr;
namespace file = ::tests::onnx;
using Model = file::Model;

namespace {

using Function = std::function<Tensor(const Tensor&)>;

struct OnnxFunctions : bobbin::tests::TemporaryDirectory {
  OnnxFunctions() : TemporaryDirectory("model.onnx") { manual_seed(7); }
  template<class F>
  Model saved(F&& f, const Tensor& x, const OnnxOptions& options = {}) const {
    save_onnx(path, f, x, options);
    return file::read_model(path);
  }
};

std::vector<file::Node> nodes(const Model& m, const std::string& type) {
  std::vector<file::Node> found;
  for (auto& node : m.nodes)
    if (node.type == type) found.push_back(node);
  return found;
}

double distance(const Model& m, const Tensor& x, const Tensor& y) {
  const NoGrad quiet;
  const Tensor got = run(m, {x})[0];
  EXPECT_EQ(got.spec(), y.spec());
  return max(abs(to(got, DType::f64) - to(y, DType::f64))).item();
}

template<class Layer>
struct Recurrent : OnnxFunctions {
  static constexpr const char* type = std::is_same_v<Layer, nn::RNN>    ? "RNN"
                                      : std::is_same_v<Layer, nn::LSTM> ? "LSTM"
                                                                        : "GRU";
};
using Layers = testing::Types<nn::RNN, nn::LSTM, nn::GRU>;
TYPED_TEST_SUITE(Recurrent, Layers);

TYPED_TEST(Recurrent, ALayerIsOneNodeWhateverItsLength) {
  const TypeParam layer(3, 4, {.layers = 2, .bidirectional = true});
  const auto f = [&](const Tensor& x) { return layer(x).y; };
  const Model few = this->saved(f, randn({2, 1, 3})), many = this->saved(f, randn({2, 40, 3}));
  EXPECT_EQ(few.nodes.size(), many.nodes.size());
  const auto found = nodes(many, this->type);
  ASSERT_EQ(found.size(), 2U);
  for (auto& node : found) {
    EXPECT_EQ(node.integer("hidden_size", 0), 4);
    EXPECT_EQ(node.text("direction", ""), "bidirectional");
    EXPECT_EQ(node.integer("linear_before_reset", 0), this->type == std::string("GRU"));
    EXPECT_EQ(node.inputs.size(), 4U);
  }
  EXPECT_TRUE(nodes(many, "Tanh").empty());
}

TYPED_TEST(Recurrent, BatchAndLengthMayBeOpen) {
  const TypeParam layer(3, 4);
  const auto f = [&](const Tensor& x) {
    const auto out = layer(x);
    return concat({out.y, unsqueeze(out.last[0].h, 1)}, 1) + 1;
  };
  const Model m = this->saved(f, randn({1, 2, 3}), {.open_axes = {0, 1}});
  ASSERT_EQ(nodes(m, this->type).size(), 1U);
  for (const Shape& shape : {Shape{1, 1, 3}, Shape{5, 7, 3}}) {
    const Tensor x = randn(shape);
    EXPECT_LT(distance(m, x, f(x)), 1e-6);
  }
}

TYPED_TEST(Recurrent, FirstStatesAreInputs) {
  const TypeParam layer(3, 3);
  const auto f = [&](const Tensor& x) {
    nn::RecurrentState first{select(x, 1, 0), {}};
    if constexpr (std::is_same_v<TypeParam, nn::LSTM>) first.c = select(x, 1, 1) * 2;
    const auto last = layer(x, {first}).last[0];
    return last.c ? last.c - last.h : last.h;
  };
  const Model m = this->saved(f, randn({2, 3, 3}), {.open_axes = {0}});
  const auto found = nodes(m, this->type);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].inputs.size(), found[0].type == "LSTM" ? 7U : 6U);
  EXPECT_EQ(found[0].inputs[4], "");  // the lengths of the sequences
  const Tensor x = randn({4, 3, 3});
  EXPECT_LT(distance(m, x, f(x)), 1e-6);
}

TYPED_TEST(Recurrent, OnlyOneDirectionMayHaveAFirstState) {
  const TypeParam layer(3, 3, {.bidirectional = true});
  const auto f = [&](const Tensor& x) { return layer(x, {{}, {select(x, 1, 0), {}}}).y; };
  const Model m = this->saved(f, randn({2, 3, 3}), {.open_axes = {0}});
  const auto found = nodes(m, this->type);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].inputs.size(), 6U);
  EXPECT_EQ(nodes(m, "Expand").size(), 1U);  // the zeros of the other, for any batch
}

// What the node does not express, or runtimes do not run, is the operations that the layer is made of.
TYPED_TEST(Recurrent, OperationsWhereTheNodeWillNotDo) {
  TypeParam layer(3, 4);
  const auto y = [&](const Tensor& x) { return layer(x).y; };
  const auto composed = [&](const Function& f, const Tensor& x) {
    const Model m = this->saved(f, x);
    EXPECT_TRUE(nodes(m, this->type).empty());
    EXPECT_FALSE(nodes(m, "Tanh").empty());
  };
  const Tensor x = randn({2, 3, 3}), state = randn({1, 4});
  composed([&](const Tensor& t) { return layer(t, {{state, state}}).y; }, x);  // one state for all rows
  composed(
      [&](const Tensor& t) {
        const Autocast narrow(DType::bf16);
        return layer(t).y;
      },
      x);
  composed(y, zeros({0, 3, 3}));
  nn::to(layer, DType::f64);
  composed(y, randn({2, 3, 3}, DType::f64));
}

TYPED_TEST(Recurrent, NarrowTypes) {
  TypeParam layer(3, 4);
  const auto y = [&](const Tensor& x) { return layer(x).y; };
  nn::to(layer, DType::f16);
  Model m = this->saved(y, randn({2, 3, 3}, DType::f16));
  EXPECT_EQ(nodes(m, this->type).size(), 1U);
  EXPECT_TRUE(nodes(m, "Cast").empty());
  nn::to(layer, DType::bf16);
  m = this->saved(y, randn({2, 3, 3}, DType::bf16));
  EXPECT_EQ(nodes(m, this->type).size(), 1U);
  EXPECT_EQ(nodes(m, "Cast").size(), 6U);  // x, four weights, y
}

TEST_F(OnnxFunctions, BatchNormIsOneNode) {
  nn::BatchNorm norm(3);
  norm.weight = uniform({3}, 0.5, 2);
  norm.bias = randn({3});
  for (int i = 0; i < 3; ++i) norm(randn({4, 3, 2}) * 2 + 1);
  nn::eval(norm);
  save_onnx(path, norm, randn({2, 3, 4}), {.open_axes = {0, 2}});
  Model m = file::read_model(path);
  ASSERT_EQ(m.nodes.size(), 1U);
  EXPECT_EQ(m.nodes[0].type, "BatchNormalization");
  EXPECT_THAT(m.nodes[0].inputs, ElementsAre("input", "weight", "bias", "running_mean", "running_var"));
  EXPECT_EQ(m.nodes[0].number("epsilon", 0), double{1e-5F});
  const Tensor x = randn({3, 3, 5});
  EXPECT_LT(distance(m, x, norm(x)), 1e-6);

  // Without weight and bias, of two axes, and in f16 with statistics of f32.
  const auto plain = [&](const Tensor& t) {
    return batch_norm(t, norm.running_mean, norm.running_var, {}, {}, {.eps = 0.1});
  };
  m = saved(plain, randn({2, 3}));
  ASSERT_EQ(m.nodes.size(), 1U);
  const Tensor rows = randn({4, 3});
  EXPECT_LT(distance(m, rows, plain(rows)), 1e-6);
  m = saved(plain, randn({2, 3}, DType::f16));
  EXPECT_EQ(nodes(m, "Cast").size(), 2U);
  EXPECT_EQ(nodes(m, "BatchNormalization").size(), 1U);
  const Tensor narrow = randn({4, 3}, DType::f16);
  EXPECT_LT(distance(m, narrow, plain(narrow)), 1e-6);
}

TEST_F(OnnxFunctions, BatchNormThatTrainsIsRefused) {
  nn::BatchNorm norm(3);
  try {
    save_onnx(path, norm, randn({2, 3}));
    ADD_FAILURE();
  } catch (const ValueError& e) {
    EXPECT_STREQ(e.what(), "save_onnx: ONNX has no words for 'batch_norm'; call eval(model) first");
  }
}

// [2, 4 heads, 3, 8] for queries, and the same for keys and values of `heads` heads and 5 positions.
Tensor attended(const Tensor& x, std::int64_t heads, const AttentionOptions& o) {
  const Tensor key = reshape(linspace(-1, 1, heads * 5 * 8), {1, heads, 5, 8});
  return scaled_dot_product_attention(x, key * 2, key, o);
}

TEST_F(OnnxFunctions, AttentionIsOneNodeFromOpset23On) {
  const Tensor x = randn({2, 4, 3, 8});
  const auto plain = [&](const Tensor& t) { return attended(t, 4, {}); };
  EXPECT_TRUE(nodes(saved(plain, x, {.opset = 22}), "Attention").empty());
  const auto found = nodes(saved(plain, x, {.opset = 23}), "Attention");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].inputs.size(), 3U);
  EXPECT_TRUE(found[0].attributes.empty());
  const auto grouped = [&](const Tensor& t) {
    return attended(t, 2, {.causal = true, .scale = 0.5, .enable_gqa = true});
  };
  const auto one = nodes(saved(grouped, x, {.open_axes = {2}, .opset = 23}), "Attention");
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].integer("is_causal", 0), 1);
  EXPECT_EQ(one[0].number("scale", 0), 0.5);
}

TEST_F(OnnxFunctions, MasksOfAttentionHaveAllRowsAndColumns) {
  const Tensor x = randn({2, 4, 3, 8}), whole = randn({3, 5}), keys = tensor({1, 0, 1, 1, 0}, DType::boolean);
  const auto masked = [](const Tensor& mask) {
    return [mask](const Tensor& t) { return attended(t, 4, {.mask = mask}); };
  };
  Model m = saved(masked(whole), x, {.opset = 23});
  EXPECT_EQ(nodes(m, "Attention").at(0).inputs.size(), 4U);
  EXPECT_TRUE(nodes(m, "Expand").empty());
  m = saved(masked(reshape(keys, {1, 1, 1, 5})), x, {.open_axes = {2}, .opset = 23});
  EXPECT_EQ(nodes(m, "Attention").at(0).inputs.size(), 4U);
  EXPECT_EQ(nodes(m, "Expand").size(), 1U);
}

TEST_F(OnnxFunctions, AttentionThatTheNodeDoesNotExpress) {
  const Tensor x = randn({2, 4, 3, 8});
  const auto composed = [&](const Function& f, const Tensor& of) {
    const Model m = saved(f, of, {.opset = 23});
    return nodes(m, "Attention").empty() && nodes(m, "Softmax").size() == 1;
  };
  EXPECT_TRUE(composed([](const Tensor& t) { return attended(t, 4, {.scale = -0.5}); }, x));
  EXPECT_TRUE(
      composed([](const Tensor& t) { return scaled_dot_product_attention(t, t, t); }, to(x, DType::f16)));
  EXPECT_TRUE(
      composed([](const Tensor& t) { return scaled_dot_product_attention(t, t, t); }, to(x, DType::f64)));
  try {
    save_onnx(path, Function([](const Tensor& t) { return attended(t, 4, {.dropout = 0.5}); }), x,
              {.opset = 23});
    ADD_FAILURE();
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr("call eval(model) first"));
  }
}

TEST_F(OnnxFunctions, ModelsKeepTheirNamesBesideTheNodes) {
  const Tensor w = randn({3});
  const Model m = saved([&](const Tensor& x) { return (x * 2 + 1) * w; }, randn({3}),
                        {.names = {{"Mul", w}}, .input = "Add", .output = "number"});
  EXPECT_THAT(m.inputs, ElementsAre("Add"));
  EXPECT_THAT(m.outputs, ElementsAre("number"));
  ASSERT_TRUE(m.constants.contains("Mul"));
  EXPECT_EQ(m.constants.at("Mul").at({1}), w.at({1}));
}

}  // namespace
