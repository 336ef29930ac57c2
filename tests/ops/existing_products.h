// Convolutions of infinite numbers and NaN: padding has no products, so only those that exist count.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace bobbin::tests {

struct PaddedCase {
  const char* what;
  Shape x, weight;
  ConvOptions options;
};
inline const PaddedCase padded_cases[] = {
    {"padded", {2, 2, 4, 5}, {3, 2, 3, 3}, {.padding = 1}},
    {"dilated", {1, 2, 5, 6}, {2, 2, 2, 3}, {.padding = {1, 2}, .dilation = {2, 1}}},
    {"not padded", {2, 1, 5, 5}, {3, 1, 3, 3}, {}},
    {"groups", {1, 4, 5, 4}, {4, 2, 3, 3}, {.padding = 1, .groups = 2}},
    {"stride", {2, 2, 6, 5}, {3, 2, 3, 3}, {.stride = {2, 1}, .padding = 1}},
    {"one pixel each", {2, 3, 4, 4}, {2, 3, 1, 1}, {}},
};

// y and the gradients of x and of the weight for the cotangent g, each by its definition.
struct ByDefinition {
  std::vector<double> y, x, weight;
  ByDefinition(const PaddedCase& c, const Shape& result, const std::vector<double>& in,
               const std::vector<double>& w, const std::vector<double>& g)
      : y(g.size()), x(in.size()), weight(w.size()) {
    const auto& o = c.options;
    const auto at = [](const Shape& s, auto a, auto b, auto i, auto j) {
      return static_cast<std::size_t>(((a * s[1] + b) * s[2] + i) * s[3] + j);
    };
    for (std::int64_t n = 0; n < result[0]; ++n)
      for (std::int64_t k = 0; k < result[1]; ++k)
        for (std::int64_t p = 0; p < result[2] * result[3]; ++p)
          for (std::int64_t q = 0; q < c.weight[1]; ++q)
            for (std::int64_t t = 0; t < c.weight[2] * c.weight[3]; ++t) {
              const std::int64_t row = p / result[3], col = p % result[3], ky = t / c.weight[3],
                                 kx = t % c.weight[3], r = row * o.stride.h - o.padding.h + ky * o.dilation.h,
                                 s = col * o.stride.w - o.padding.w + kx * o.dilation.w;
              if (r < 0 || r >= c.x[2] || s < 0 || s >= c.x[3]) continue;
              const auto i = at(c.x, n, k / (result[1] / o.groups) * c.weight[1] + q, r, s),
                         j = at(c.weight, k, q, ky, kx), m = at(result, n, k, row, col);
              y[m] += in[i] * w[j];
              x[i] += g[m] * w[j];
              weight[j] += g[m] * in[i];
            }
  }
};

/// An infinity and a NaN at several places of x, the weight and the cotangent, in each dtype.
inline void expect_only_existing_products(Device device) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  manual_seed(3);
  for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const PaddedCase& c : padded_cases) {
      const auto integers = [&](const Shape& s) { return to(randint(-3, 4, s), d); };
      const Tensor x = integers(c.x), w = integers(c.weight),
                   g = integers(conv2d(x, w, {}, c.options).shape());
      for (int which = 0; which < 3; ++which)
        for (const double special : {inf, std::numeric_limits<double>::quiet_NaN()})
          for (const int part : {0, 3, 7}) {  // eighths of the way through the tensor
            SCOPED_TRACE(testing::Message() << c.what << ", " << d << ", " << special << " in tensor "
                                            << which << " at " << part << "/8");
            std::vector<double> v[3] = {x.to_vector<double>(), w.to_vector<double>(), g.to_vector<double>()};
            v[which][v[which].size() * static_cast<std::size_t>(part) / 8] = special;
            const ByDefinition want(c, g.shape(), v[0], v[1], v[2]);
            const auto on_device = [&](const std::vector<double>& t, const Shape& s) {
              return to(to(from_range(t, s), d), device).set_requires_grad();
            };
            const Tensor a = on_device(v[0], c.x), b = on_device(v[1], c.weight);
            const Tensor y = conv2d(a, b, {}, c.options);
            const auto grads = grad(y, {a, b}, on_device(v[2], g.shape()).detach());
            const std::vector<double>* const all[] = {&want.y, &want.x, &want.weight};
            const Tensor got[] = {y.detach(), grads[0], grads[1]};
            for (int k = 0; k < 3; ++k) {
              const auto values = got[k].to_vector<double>();
              for (std::size_t i = 0; i < values.size(); ++i) {
                const double right = to(full({1}, (*all[k])[i], DType::f64), d).item();
                EXPECT_TRUE(values[i] == right || (std::isnan(values[i]) && std::isnan(right)))
                    << "result " << k << ", element " << i << ": " << values[i] << ", not " << right;
              }
            }
            if (testing::Test::HasFailure()) return;
          }
    }
}

}  // namespace bobbin::tests
