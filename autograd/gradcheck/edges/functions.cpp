// Closed forms that lose no digits in the tails. They share nothing with the kernels.
#include "autograd/gradcheck/edges/functions.h"

#include <bobbin/elementwise.h>
#include <bobbin/loss.h>
#include <bobbin/reduce.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include <cmath>
#include <limits>

namespace bobbin::gradcheck_detail {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr Wide pi = 3.14159265358979323846264338327950288L;

Wide zero(Wide) { return 0; }
Wide one(Wide) { return 1; }
Wide identity(Wide x) { return x; }
Wide exponential(Wide x) { return std::exp(x); }
Wide sine(Wide x) { return std::sin(x); }
Wide cosine(Wide x) { return std::cos(x); }
Wide minus_sine(Wide x) { return -std::sin(x); }
Wide minus_cosine(Wide x) { return -std::cos(x); }

// x f, which is 0 where f is: f is 0 at infinity faster than x grows.
Wide times(Wide x, Wide f) { return f == 0 ? 0 : x * f; }

// 1 / (1 + e^-x); e^-|x| keeps the digits of small results.
Wide sigma(Wide x) {
  const Wide e = std::exp(-std::abs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}
Wide sigma1(Wide x) { return sigma(x) * sigma(-x); }
// (1 - e^-x) / (1 + e^-x) = tanh(x / 2), so sigma'' = -sigma' tanh(x / 2)
Wide sigma2(Wide x) { return -sigma1(x) * std::tanh(x / 2); }
Wide plus(Wide x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))); }

Wide sech2(Wide x) {
  const Wide e = std::exp(-2 * std::abs(x));
  return 4 * e / ((1 + e) * (1 + e));
}
Wide density(Wide x) { return std::exp(-x * x / 2) / std::sqrt(2 * pi); }
Wide below(Wide x) { return std::erfc(-x / std::sqrt(2.0L)) / 2; }

constexpr Wide k = 0.79788456080286535587989211986876373L, c = 0.044715L;
// The inner function of gelu's tanh form and its derivatives; (1 + tanh u) / 2 = sigma(2 u).
Wide inner(Wide x) { return k * x * (1 + c * x * x); }
Wide inner1(Wide x) { return k * (1 + 3 * c * x * x); }
Wide inner2(Wide x) { return k * 6 * c * x; }
Wide half_sech2(Wide u) { return sech2(u) / 2; }

// [x, 0] in rows of two.
Tensor beside_zero(const Tensor& x) { return stack({x, zeros_like(x.detach())}, 1); }
Tensor column(const Tensor& rows, std::int64_t i) {
  return reshape(slice(rows, 1, i, i + 1), {rows.size(0)});
}
Tensor label(const Tensor& x, std::int64_t i) {
  return full({x.size(0)}, static_cast<double>(i), DType::i64, x.device());
}

// The softmax family of [x, 0] and the losses are sigmoid and softplus of x or -x.
#define BOBBIN_PLUS(sign)                                                         \
  [](Wide x) { return plus(sign x); }, [](Wide x) { return sign sigma(sign x); }, \
      [](Wide x) { return sigma1(x); }
#define BOBBIN_MINUS_PLUS(sign)                                                       \
  [](Wide x) { return -plus(sign x); }, [](Wide x) { return -(sign sigma(sign x)); }, \
      [](Wide x) { return -sigma1(x); }
#define BOBBIN_SIGMA(sign)                                                     \
  [](Wide x) { return sigma(sign x); }, [](Wide x) { return sign sigma1(x); }, \
      [](Wide x) { return sigma2(sign x); }

constexpr ScalarFunction table[] = {
    {"exp", "", exp, exponential, exponential, exponential, -inf, inf},
    {"expm1", "", expm1, [](Wide x) { return std::expm1(x); }, exponential, exponential, -inf, inf},
    {"log", "", log, [](Wide x) { return std::log(x); }, [](Wide x) { return 1 / x; },
     [](Wide x) { return -1 / x / x; }, 0, inf},
    {"log1p", "", log1p, [](Wide x) { return std::log1p(x); }, [](Wide x) { return 1 / (1 + x); },
     [](Wide x) { return -1 / (1 + x) / (1 + x); }, -0.9, inf},
    {"sqrt", "", sqrt, [](Wide x) { return std::sqrt(x); }, [](Wide x) { return 0.5L / std::sqrt(x); },
     [](Wide x) { return -0.25L / x / std::sqrt(x); }, 1e-300, inf},
    {"rsqrt", "", rsqrt, [](Wide x) { return 1 / std::sqrt(x); },
     [](Wide x) { return -0.5L / x / std::sqrt(x); }, [](Wide x) { return 0.75L / x / x / std::sqrt(x); },
     1e-300, inf},
    {"reciprocal", "", reciprocal, [](Wide x) { return 1 / x; }, [](Wide x) { return -1 / x / x; },
     [](Wide x) { return 2 / x / x / x; }, -inf, inf},
    {"sin", "", sin, sine, cosine, minus_sine, -1e300, 1e300},
    {"cos", "", cos, cosine, minus_sine, minus_cosine, -1e300, 1e300},
    {"tanh", "", tanh, [](Wide x) { return std::tanh(x); }, sech2,
     [](Wide x) { return -2 * std::tanh(x) * sech2(x); }, -inf, inf},
    {"erf", "", erf, [](Wide x) { return std::erf(x); },
     [](Wide x) { return 2 / std::sqrt(pi) * std::exp(-x * x); },
     [](Wide x) { return times(-4 * x, std::exp(-x * x)) / std::sqrt(pi); }, -inf, inf},
    {"sigmoid", "", sigmoid, BOBBIN_SIGMA(+), -inf, inf},
    {"relu", "", relu, [](Wide x) { return x > 0 ? x : 0; }, [](Wide x) -> Wide { return x > 0; }, zero, -inf,
     inf},
    {"leaky_relu", "", [](const Tensor& x) { return leaky_relu(x, 0.25); },
     [](Wide x) { return x > 0 ? x : x / 4; }, [](Wide x) { return x > 0 ? 1 : 0.25L; }, zero, -inf, inf},
    {"elu", "", [](const Tensor& x) { return elu(x); }, [](Wide x) { return x > 0 ? x : std::expm1(x); },
     [](Wide x) { return x > 0 ? 1 : std::exp(x); }, [](Wide x) { return x > 0 ? 0 : std::exp(x); }, -inf,
     inf},
    {"silu", "", silu, [](Wide x) { return times(x, sigma(x)); },
     [](Wide x) { return sigma(x) + times(x, sigma1(x)); },
     [](Wide x) { return 2 * sigma1(x) + times(x, sigma2(x)); }, -inf, inf},
    {"softplus", "", softplus, BOBBIN_PLUS(+), -inf, inf},
    {"gelu_erf", "", [](const Tensor& x) { return gelu(x); }, [](Wide x) { return times(x, below(x)); },
     [](Wide x) { return below(x) + times(x, density(x)); },
     [](Wide x) { return times(2 - x * x, density(x)); }, -inf, inf, [](Wide x) { return x * x / 2; }, 2},
    {"gelu_tanh", "", [](const Tensor& x) { return gelu(x, Gelu::tanh); },
     [](Wide x) { return times(x, sigma(2 * inner(x))); },
     [](Wide x) { return sigma(2 * inner(x)) + times(x * inner1(x), half_sech2(inner(x))); },
     [](Wide x) {
       const Wide u = inner(x), u1 = inner1(x);
       return times(2 * u1 + x * inner2(x) - 2 * x * u1 * u1 * std::tanh(u), half_sech2(u));
     },
     -inf, inf, [](Wide x) { return 2 * inner(x); }},
    {"softmax", "[x, 0], 0", [](const Tensor& x) { return column(softmax(beside_zero(x), 1), 0); },
     BOBBIN_SIGMA(+), -1e300, 1e300},
    {"softmax", "[x, 0], 1", [](const Tensor& x) { return column(softmax(beside_zero(x), 1), 1); },
     BOBBIN_SIGMA(-), -1e300, 1e300},
    {"masked_softmax", "[x, 0], 0",
     [](const Tensor& x) { return column(masked_softmax(beside_zero(x), {}), 0); }, BOBBIN_SIGMA(+), -1e300,
     1e300},
    {"log_softmax", "[x, 0], 0", [](const Tensor& x) { return column(log_softmax(beside_zero(x), 1), 0); },
     BOBBIN_MINUS_PLUS(-), -1e300, 1e300},
    {"log_softmax", "[x, 0], 1", [](const Tensor& x) { return column(log_softmax(beside_zero(x), 1), 1); },
     BOBBIN_MINUS_PLUS(+), -1e300, 1e300},
    {"logsumexp", "[x, 0]", [](const Tensor& x) { return logsumexp(beside_zero(x), {1}); }, BOBBIN_PLUS(+),
     -1e300, 1e300},
    {"cross_entropy", "[x, 0], label 0",
     [](const Tensor& x) {
       return cross_entropy(beside_zero(x), label(x, 0), {.reduction = Reduction::none});
     },
     BOBBIN_PLUS(-), -1e300, 1e300},
    {"cross_entropy", "[x, 0], label 1",
     [](const Tensor& x) {
       return cross_entropy(beside_zero(x), label(x, 1), {.reduction = Reduction::none});
     },
     BOBBIN_PLUS(+), -1e300, 1e300},
    {"binary_cross_entropy_with_logits", "target 1",
     [](const Tensor& x) {
       return binary_cross_entropy_with_logits(x, ones_like(x.detach()), Reduction::none);
     },
     BOBBIN_PLUS(-), -inf, inf},
    {"binary_cross_entropy_with_logits", "target 0",
     [](const Tensor& x) {
       return binary_cross_entropy_with_logits(x, zeros_like(x.detach()), Reduction::none);
     },
     BOBBIN_PLUS(+), -inf, inf},
    {"square", "", square, [](Wide x) { return x * x; }, [](Wide x) { return 2 * x; },
     [](Wide) { return Wide(2); }, -inf, inf},
    {"neg", "", neg, [](Wide x) { return -x; }, [](Wide) { return Wide(-1); }, zero, -inf, inf},
    {"abs", "", abs, [](Wide x) { return std::abs(x); }, [](Wide x) -> Wide { return x > 0 ? 1 : -1; }, zero,
     -inf, inf},
    {"pow_scalar", "2", [](const Tensor& x) { return pow(x, 2); }, [](Wide x) { return x * x; },
     [](Wide x) { return 2 * x; }, [](Wide) { return Wide(2); }, -inf, inf},
    {"pow_scalar", "3", [](const Tensor& x) { return pow(x, 3); }, [](Wide x) { return x * x * x; },
     [](Wide x) { return 3 * x * x; }, [](Wide x) { return 6 * x; }, -inf, inf},
    {"pow_scalar", "-1", [](const Tensor& x) { return pow(x, -1); }, [](Wide x) { return 1 / x; },
     [](Wide x) { return -1 / x / x; }, [](Wide x) { return 2 / x / x / x; }, -inf, inf},
    {"pow_scalar", "0.5", [](const Tensor& x) { return pow(x, 0.5); }, [](Wide x) { return std::sqrt(x); },
     [](Wide x) { return 0.5L / std::sqrt(x); }, [](Wide x) { return -0.25L / x / std::sqrt(x); }, 1e-300,
     inf},
    {"add", "x + 0", [](const Tensor& x) { return x + zeros_like(x.detach()); }, identity, one, zero, -inf,
     inf},
};

#undef BOBBIN_PLUS
#undef BOBBIN_MINUS_PLUS
#undef BOBBIN_SIGMA

}  // namespace

std::span<const ScalarFunction> scalar_functions() { return table; }

}  // namespace bobbin::gradcheck_detail
