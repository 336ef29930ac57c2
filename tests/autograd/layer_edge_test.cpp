// Layers at the edges of their options and shapes: numbers outside a domain, empty batches, tied parameters.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
