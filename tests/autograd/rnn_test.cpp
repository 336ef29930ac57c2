// Recurrent layers by their definitions, step by step in plain doubles, and as models.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace bobbin;

namespace {

using Row = std::vector<double>;

double sigma(double x) { return 1 / (1 + std::exp(-x)); }

// W x + b.
Row product(const Tensor& w, const Tensor& b, const Row& x) {
  Row y;
  for (std::int64_t i = 0; i < w.size(0); ++i) {
    double sum = b.at({i});
    for (std::size_t j = 0; j < x.size(); ++j) sum += w.at({i, static_cast<std::int64_t>(j)}) * x[j];
    y.push_back(sum);
  }
  return y;
}

struct Plain {
  Row h, c;
};
Plain step(const nn::RNNCell& cell, const Row& x, Plain s) {
  const Row a = product(cell.weight_ih, cell.bias_ih, x), b = product(cell.weight_hh, cell.bias_hh, s.h);
  for (std::size_t i = 0; i < s.h.size(); ++i) s.h[i] = std::tanh(a[i] + b[i]);
  return s;
}
Plain step(const nn::LSTMCell& cell, const Row& x, Plain s) {
  const Row a = product(cell.weight_ih, cell.bias_ih, x), b = product(cell.weight_hh, cell.bias_hh, s.h);
  const std::size_t n = s.h.size();
  const auto gate = [&](std::size_t g, std::size_t i) { return a[g * n + i] + b[g * n + i]; };
  for (std::size_t i = 0; i < n; ++i) {
    s.c[i] = sigma(gate(1, i)) * s.c[i] + sigma(gate(0, i)) * std::tanh(gate(2, i));
    s.h[i] = sigma(gate(3, i)) * std::tanh(s.c[i]);
  }
  return s;
}
Plain step(const nn::GRUCell& cell, const Row& x, Plain s) {
  const Row a = product(cell.weight_ih, cell.bias_ih, x), b = product(cell.weight_hh, cell.bias_hh, s.h);
  const std::size_t n = s.h.size();
  for (std::size_t i = 0; i < n; ++i) {
    const double r = sigma(a[i] + b[i]), z = sigma(a[n + i] + b[n + i]);
    s.h[i] = (1 - z) * std::tanh(a[2 * n + i] + r * b[2 * n + i]) + z * s.h[i];
  }
  return s;
}

template<class Layer>
class RecurrentTest : public testing::Test {};
using Layers = testing::Types<nn::RNN, nn::LSTM, nn::GRU>;
TYPED_TEST_SUITE(RecurrentTest, Layers);

TYPED_TEST(RecurrentTest, GoesBothWaysThroughTwoLayers) {
  manual_seed(4);
  const std::int64_t n = 2, length = 3, in = 2, hidden = 3;
  TypeParam layer(in, hidden, {.layers = 2, .bidirectional = true});
  const Tensor x = randn({n, length, in});
  const auto out = layer(x);
  ASSERT_EQ(out.y.shape(), (Shape{n, length, 2 * hidden}));
  ASSERT_EQ(out.last.size(), 4U);
  for (std::int64_t row = 0; row < n; ++row) {
    std::vector<Row> xs(length);
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t j = 0; j < in; ++j) xs[static_cast<std::size_t>(t)].push_back(x.at({row, t, j}));
    for (std::size_t l = 0; l < 2; ++l) {
      std::vector<Row> ys(length, Row(2 * hidden));
      for (std::size_t d = 0; d < 2; ++d) {
        Plain s{Row(hidden), Row(hidden)};
        for (std::size_t i = 0; i < static_cast<std::size_t>(length); ++i) {
          const std::size_t t = d == 0 ? i : length - 1 - i;
          s = step(layer.cells[2 * l + d], xs[t], s);
          std::ranges::copy(s.h, ys[t].begin() + static_cast<std::ptrdiff_t>(d * hidden));
        }
        for (std::int64_t j = 0; j < hidden; ++j)
          EXPECT_NEAR(out.last[2 * l + d].h.at({row, j}), s.h[static_cast<std::size_t>(j)], 1e-6);
      }
      xs = ys;
    }
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t j = 0; j < 2 * hidden; ++j)
        EXPECT_NEAR(out.y.at({row, t, j}), xs[static_cast<std::size_t>(t)][static_cast<std::size_t>(j)],
                    1e-6);
  }
}

TYPED_TEST(RecurrentTest, GoesOnFromAStateAndHasGradients) {
  manual_seed(5);
  TypeParam layer(2, 3);
  const Tensor x = randn({1, 4, 2});
  const auto whole = layer(x), start = layer(slice(x, 1, 0, 2)), rest = layer(slice(x, 1, 2, 4), start.last);
  EXPECT_LT(max(abs(rest.y - slice(whole.y, 1, 2, 4))).item(), 1e-6);
  nn::to(layer, DType::f64);
  const auto f = [&](Inputs in) { return layer(in[0]).y; };
  EXPECT_TRUE(gradcheck(f, std::vector{randn({1, 3, 2}, DType::f64)}).ok());
  auto& weight = layer.cells[0].weight_hh;
  const Tensor given = randn({1, 3, 2}, DType::f64);
  const auto by_weight = [&](Inputs in) {
    TypeParam copy = layer;
    copy.cells[0].weight_hh = in[0];
    return copy(given).y;
  };
  EXPECT_TRUE(gradcheck(by_weight, std::vector{weight.detach()}).ok());
}

TYPED_TEST(RecurrentTest, NamesItsWeightsAndRefusesWhatDoesNotFit) {
  TypeParam layer(2, 3, {.layers = 2, .bidirectional = true});
  const auto state = nn::state_dict(layer);
  EXPECT_EQ(state.size(), 16U);
  EXPECT_TRUE(state.contains("weight_ih_l1_reverse"));
  EXPECT_THROW(layer(zeros({1, 2, 3})), ShapeError);
  EXPECT_THROW(layer(zeros({1, 2, 2}), {{}}), ShapeError);
  EXPECT_THROW(TypeParam(2, 3, {.layers = 0}), ValueError);
  EXPECT_THROW(TypeParam(0, 3), ValueError);
}

}  // namespace
