// Layers at the edges of their options and shapes: numbers outside a domain, empty batches, tied parameters.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

using namespace bobbin;
using testing::HasSubstr;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();

// An option of a layer: a call with it, and whether 0 and 1 are in its domain. NaN, -1 and infinity never
// are.
struct Option {
  const char* name;
  std::function<void(double)> with;
  bool zero = true, one = true;
};

TEST(LayerEdges, OptionsOutsideTheirDomainAreValueErrors) {
  const Tensor x = randn({1, 2, 4});
  for (const auto& [name, with, zero, one] : std::vector<Option>{
           {"Dropout p", [](double v) { nn::Dropout{v}; }, true, false},
           {"Dropout p, set later",
            [&](double v) {
              nn::Dropout layer;
              layer.p = v;
              layer(x);
            }},
           {"MultiheadAttention dropout", [](double v) { nn::MultiheadAttention(4, 2, v); }, true, false},
           {"MultiheadAttention dropout, set later",
            [&](double v) {
              nn::MultiheadAttention layer(4, 2);
              layer.dropout = v;
              layer(x);
            }},
           {"TransformerBlock dropout", [](double v) { nn::TransformerBlock(4, 2, v); }, true, false},
           {"scaled_dot_product_attention dropout",
            [&](double v) { scaled_dot_product_attention(x, x, x, {.dropout = v}); }},
           {"LSTM dropout", [](double v) { nn::LSTM(2, 2, {.dropout = v}); }, true, false},
           {"BatchNorm momentum", [](double v) { nn::BatchNorm(2, v); }},
           {"BatchNorm eps", [](double v) { nn::BatchNorm(2, .1, v); }},
           {"LayerNorm eps", [](double v) { nn::LayerNorm({2}, v); }},
           {"RMSNorm eps", [](double v) { nn::RMSNorm({2}, v); }},
           {"GroupNorm eps", [](double v) { nn::GroupNorm(1, 2, v); }}}) {
    for (const double v : {nan, -1., inf}) EXPECT_THROW(with(v), ValueError) << name << " = " << v;
    for (const auto& [v, allowed] : {std::pair{0., zero}, {1., one}})
      if (allowed)
        EXPECT_NO_THROW(with(v)) << name << " = " << v;
      else
        EXPECT_THROW(with(v), ValueError) << name << " = " << v;
  }
}

TEST(LayerEdges, InitialisersRefuseWhatGivesNoNumbers) {
  using namespace nn::init;
  Tensor w = full({2, 3}, 7);
  for (const auto& [name, with, zero, one] :
       std::vector<Option>{{"normal_ std", [&](double v) { normal_(w, 0, v); }},
                           {"trunc_normal_ std", [&](double v) { trunc_normal_(w, 0, v); }, false},
                           {"uniform_ width", [&](double v) { uniform_(w, 0, v); }},
                           {"xavier_uniform_ gain", [&](double v) { xavier_uniform_(w, v); }},
                           {"xavier_normal_ gain", [&](double v) { xavier_normal_(w, v); }},
                           {"kaiming_uniform_ gain", [&](double v) { kaiming_uniform_(w, {.gain = v}); }},
                           {"kaiming_normal_ gain", [&](double v) { kaiming_normal_(w, {.gain = v}); }},
                           {"orthogonal_ gain", [&](double v) { orthogonal_(w, v); }}}) {
    for (const double v : {nan, -1., inf}) {
      EXPECT_THROW(with(v), ValueError) << name << " = " << v;
      EXPECT_EQ(w.to_vector<float>(), std::vector<float>(6, 7)) << name << " = " << v;
    }
    if (zero)
      EXPECT_NO_THROW(with(0)) << name;
    else
      EXPECT_THROW(with(0), ValueError) << name;
    EXPECT_NO_THROW(with(1)) << name;
    for (const float x : w.to_vector<float>()) EXPECT_TRUE(std::isfinite(x)) << name;
    w.fill_(7);
  }
  for (const double v : {nan, inf}) {
    EXPECT_THROW(normal_(w, v, 1), ValueError);
    EXPECT_THROW(trunc_normal_(w, v, 1), ValueError);
    EXPECT_THROW(uniform_(w, v, 1), ValueError);
    EXPECT_THROW(calculate_gain(Nonlinearity::leaky_relu, v), ValueError);
  }
  for (const Shape& s : {Shape{0, 3}, Shape{3, 0}, Shape{0, 0}}) {
    Tensor none = zeros(s);
    for (const auto& f : {kaiming_uniform_, kaiming_normal_}) EXPECT_NO_THROW(f(none, {}));
    for (const auto& f : {xavier_uniform_, xavier_normal_, orthogonal_}) EXPECT_NO_THROW(f(none, 1));
  }
}

TEST(LayerEdges, EmptyBatches) {
  EXPECT_EQ(nn::LSTM(2, 3)(zeros({0, 4, 2})).y.shape(), (Shape{0, 4, 3}));
  EXPECT_EQ(nn::GRU(2, 3, {.layers = 2, .bidirectional = true, .dropout = .5})(zeros({0, 4, 2})).y.shape(),
            (Shape{0, 4, 6}));
  EXPECT_EQ(nn::MultiheadAttention(4, 2, .1)(zeros({0, 3, 4}), true).shape(), (Shape{0, 3, 4}));
  EXPECT_EQ(nn::MultiheadAttention(4, 2, .1)(zeros({2, 0, 4}), true).shape(), (Shape{2, 0, 4}));
  EXPECT_EQ(nn::TransformerBlock(4, 2, .1)(zeros({0, 3, 4})).shape(), (Shape{0, 3, 4}));
  EXPECT_EQ(nn::Embedding(4, 2)(zeros({0, 3}, DType::i64)).shape(), (Shape{0, 3, 2}));
  EXPECT_EQ(nn::Conv2d(1, 2, 3)(zeros({0, 1, 5, 5})).shape(), (Shape{0, 2, 3, 3}));
  EXPECT_EQ(nn::Conv1d(1, 2, 3)(zeros({0, 1, 5})).shape(), (Shape{0, 2, 3}));
  EXPECT_EQ(nn::MaxPool2d(2)(zeros({0, 1, 6, 6})).shape(), (Shape{0, 1, 3, 3}));
}

TEST(LayerEdges, FlattenKeepsTheWidthOfAnEmptyBatch) {
  const nn::Flatten flatten;
  EXPECT_EQ(flatten(zeros({0, 3, 4})).shape(), (Shape{0, 12}));
  EXPECT_EQ(flatten(zeros({0})).shape(), (Shape{0, 1}));
  EXPECT_EQ(flatten(zeros({5})).shape(), (Shape{5, 1}));
  EXPECT_EQ(flatten(zeros({2, 0, 4})).shape(), (Shape{2, 0}));
  EXPECT_EQ(flatten(zeros({0, 0})).shape(), (Shape{0, 0}));
  EXPECT_THROW(flatten(tensor(1)), ShapeError);
  const nn::Sequential net(nn::Flatten(), nn::Linear(12, 2));
  EXPECT_EQ(net(zeros({0, 3, 4})).shape(), (Shape{0, 2}));
}

TEST(LayerEdges, ATiedParameterCountsOnce) {
  struct Tied {
    nn::Linear a{3, 3, false}, b = a;
    void each(nn::Visit& v) { v("a", a), v("b", b); }
  } tied;
  EXPECT_EQ(nn::num_parameters(tied), 9);
  EXPECT_THAT(nn::summary(tied), HasSubstr("\n9 parameters\n"));
}

// A tie is of the same elements in the same order: a transposed view of a weight stays what it is.
TEST(LayerEdges, AMoveKeepsTheElementsOfAViewOfAParameter) {
  struct Views {
    Tensor w = tensor({{1, 2}, {3, 4}}), turned = transpose(w), row = select(w, 0, 0);
    void each(nn::Visit& v) { v.buffer("w", w), v.buffer("turned", turned), v.buffer("row", row); }
  } views;
  nn::to(views, DType::f64);
  EXPECT_EQ(views.w.to_vector<double>(), (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(views.turned.to_vector<double>(), (std::vector<double>{1, 3, 2, 4}));
  EXPECT_EQ(views.row.to_vector<double>(), (std::vector<double>{1, 2}));
}

TEST(LayerEdges, AMoveThatFailsMovesNothing) {
  struct Two {
    nn::Linear a{2, 2}, b{2, 2};
    void each(nn::Visit& v) { v("a", a), v("b", b); }
  } two;
  int moves = 0;
  EXPECT_THROW(nn::detail::move(nn::detail::each(two),
                                [&](const Tensor& t) {
                                  if (++moves == 3) fail<OutOfMemory>("no memory");
                                  return to(t, DType::f64);
                                }),
               OutOfMemory);
  for (const auto& [name, t] : nn::state_dict(two)) EXPECT_EQ(t.dtype(), DType::f32) << name;
}

}  // namespace
