// Measures the errors of the functions of one number, in units in the last place, and prints the table of
// ops/ULP.md. f32 inputs are all 2^32 bit patterns, or every STEP-th; bf16 and f16 inputs are all 65536.
#include <bobbin/elementwise.h>
#include <bobbin/parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tools/options/options.h"

using namespace bobbin;

namespace {

struct Function {
  std::string_view name;
  Tensor (*op)(const Tensor&);
  double (*exact)(double);
  bool all = true;  // fast enough for every bit pattern; else every 257th by default
};

// The exact functions are those of libm in f64, whose errors are below 1e-8 of an f32 ULP. Formulas have the
// form in which no digits cancel.
double exact_sigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
double exact_softplus(double x) {
  return std::isnan(x) ? x : std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}
double exact_gelu(double x) {
  return x == -INFINITY ? 0 : x * 0.5 * std::erfc(-x * (std::numbers::sqrt2 / 2));
}
double exact_gelu_tanh(double x) {
  const double inner = std::numbers::sqrt2 * std::numbers::inv_sqrtpi * (x + 0.044715 * x * x * x);
  return x == -INFINITY ? 0 : x * exact_sigmoid(2 * inner);
}
double exact_silu(double x) { return x == -INFINITY ? 0 : x * exact_sigmoid(x); }

Tensor gelu_erf(const Tensor& x) { return gelu(x); }
Tensor gelu_tanh(const Tensor& x) { return gelu(x, Gelu::tanh); }
Tensor elu_1(const Tensor& x) { return elu(x, 1); }
Tensor cube(const Tensor& x) { return pow(x, 3); }
Tensor pow_2_5(const Tensor& x) { return pow(x, 2.5); }

const Function functions[] = {
    {"neg", neg, [](double x) { return -x; }},
    {"abs", abs, [](double x) { return std::abs(x); }},
    {"square", square, [](double x) { return x * x; }},
    {"reciprocal", reciprocal, [](double x) { return 1 / x; }},
    {"sqrt", sqrt, [](double x) { return std::sqrt(x); }},
    {"rsqrt", rsqrt, [](double x) { return 1 / std::sqrt(x); }},
    {"exp", exp, [](double x) { return std::exp(x); }},
    {"log", log, [](double x) { return std::log(x); }},
    {"relu", relu, [](double x) { return std::isnan(x) || x > 0 ? x : 0; }},
    {"sigmoid", sigmoid, exact_sigmoid},
    {"tanh", tanh, [](double x) { return std::tanh(x); }},
    {"expm1", expm1, [](double x) { return std::expm1(x); }, false},
    {"log1p", log1p, [](double x) { return std::log1p(x); }, false},
    {"sin", sin, [](double x) { return std::sin(x); }, false},
    {"cos", cos, [](double x) { return std::cos(x); }, false},
    {"erf", erf, [](double x) { return std::erf(x); }, false},
    {"silu", silu, exact_silu, false},
    {"softplus", softplus, exact_softplus, false},
    {"elu", elu_1, [](double x) { return x > 0 ? x : std::expm1(x); }, false},
    {"gelu_erf", gelu_erf, exact_gelu, false},
    {"gelu_tanh", gelu_tanh, exact_gelu_tanh, false},
    {"pow(x, 3)", cube, [](double x) { return std::pow(x, 3.0); }, false},
    {"pow(x, 2.5)", pow_2_5, [](double x) { return std::pow(x, 2.5); }, false},
};

struct Worst {
  double ulps = 0, at = 0;
  std::int64_t inputs = 0;
  std::int64_t rounded = 0;  // results that are rounded correctly
  std::int64_t wrong = 0;    // results that are NaN or infinite where the exact one is not, or the reverse
  double wrong_at = 0;
  void merge(const Worst& w) {
    if (w.ulps > ulps) ulps = w.ulps, at = w.at;
    if (w.wrong > 0 && wrong == 0) wrong_at = w.wrong_at;
    inputs += w.inputs, rounded += w.rounded, wrong += w.wrong;
  }
};

struct Format {
  DType dtype;
  int bits, least;  // of the mantissa; the exponent of the smallest normal number
};

void compare(Worst& w, double x, double got, double want, double nearest, const Format& f) {
  ++w.inputs;
  if (got == nearest || (std::isnan(got) && std::isnan(want))) ++w.rounded;
  if (std::isnan(want) || std::isinf(nearest) || std::isnan(got) || std::isinf(got)) {
    const bool agree = got == nearest || (std::isnan(got) && std::isnan(want));
    // Near the largest number, infinity counts as close to it.
    const double top = std::ldexp(2 - std::ldexp(1, -f.bits), f.bits == 7 || f.bits == 23 ? 127 : 15);
    const bool edge = !std::isnan(got) && std::abs(want) >= top * (1 - std::ldexp(4, -f.bits)) &&
                      std::abs(got) >= top * (1 - std::ldexp(4, -f.bits)) &&
                      std::signbit(got) == std::signbit(want);
    if (!agree && !edge && w.wrong++ == 0) w.wrong_at = x;
    return;
  }
  const int exponent = want == 0 ? f.least : std::max(std::ilogb(want), f.least);
  const double error = std::abs(got - want) * std::ldexp(1, f.bits - exponent);
  if (!(error <= w.ulps)) w.ulps = error, w.at = x;
}

// Inputs number first, first + step, ... of `count` bit patterns of the dtype.
Tensor patterns(const Format& f, std::uint64_t first, std::int64_t count, std::uint64_t step) {
  Tensor x = empty({count}, f.dtype);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t bits = first + static_cast<std::uint64_t>(i) * step;
    if (f.dtype == DType::f32)
      x.raw<std::uint32_t>()[i] = static_cast<std::uint32_t>(bits);
    else
      x.raw<std::uint16_t>()[i] = static_cast<std::uint16_t>(bits);
  }
  return x;
}

Worst measure(const Function& function, const Format& f, std::uint64_t step, Device device) {
  constexpr std::int64_t chunk = 1 << 20, tile = 1 << 14;
  const std::uint64_t all = f.dtype == DType::f32 ? std::uint64_t{1} << 32 : 65536;
  const auto total = static_cast<std::int64_t>((all + step - 1) / step);
  Worst worst;
  for (std::int64_t begin = 0; begin < total; begin += chunk) {
    const std::int64_t n = std::min(chunk, total - begin);
    const Tensor x = patterns(f, static_cast<std::uint64_t>(begin) * step, n, step);
    const Tensor y = to(function.op(to(x, device)), Device::cpu());
    const Tensor xs = to(x, DType::f64), ys = to(y, DType::f64), exact = empty({n}, DType::f64);
    const double *in = xs.data<double>().data(), *got = ys.data<double>().data();
    double* want = exact.raw<double>();
    parallel_for((n + tile - 1) / tile, [&](std::int64_t t) {
      for (std::int64_t i = t * tile; i < std::min(n, (t + 1) * tile); ++i) want[i] = function.exact(in[i]);
    });
    const Tensor rounded = to(to(exact, f.dtype), DType::f64);
    const double* nearest = rounded.data<double>().data();
    std::vector<Worst> parts(static_cast<std::size_t>((n + tile - 1) / tile));
    parallel_for(static_cast<std::int64_t>(parts.size()), [&](std::int64_t t) {
      for (std::int64_t i = t * tile; i < std::min(n, (t + 1) * tile); ++i)
        compare(parts[static_cast<std::size_t>(t)], in[i], got[i], want[i], nearest[i], f);
    });
    for (auto& p : parts) worst.merge(p);
  }
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names;
  std::uint64_t step = 0;
  std::string device = "cpu";
  tools::Options options(
      "Measures the functions of one number against the exact ones, in units in the last place.");
  options.add("--op", names, "Function to measure; may be repeated").default_text("all");
  options.add("--step", step, "Every STEP-th f32 bit pattern; 1 for all 2^32")
      .default_text("1 or 257, by cost");
  options.add("--device", device, "where to compute").one_of({"cpu", "cuda"});
  if (const auto status = options.parse(argc, argv)) return *status;
  const Device where = device == "cpu" ? Device::cpu() : Device::cuda();

  fmt::print("| function | f32 inputs | f32 worst | at | rounded correctly | bf16 worst | f16 worst |\n");
  fmt::print("|---|---:|---:|---:|---:|---:|---:|\n");
  std::int64_t wrong = 0;
  for (auto& f : functions) {
    if (!names.empty() && std::find(names.begin(), names.end(), f.name) == names.end()) continue;
    const Worst w = measure(f, {DType::f32, 23, -126},
                            step    ? step
                            : f.all ? 1
                                    : 257,
                            where),
                b = measure(f, {DType::bf16, 7, -126}, 1, where),
                h = measure(f, {DType::f16, 10, -14}, 1, where);
    fmt::print("| {} | {} | {:.3f} | {:.9g} | {:.3f} % | {:.3f} | {:.3f} |\n", f.name,
               w.inputs == std::int64_t{1} << 32 ? "all 2^32" : std::to_string(w.inputs), w.ulps, w.at,
               100.0 * static_cast<double>(w.rounded) / static_cast<double>(w.inputs), b.ulps, h.ulps);
    std::fflush(stdout);
    for (auto* part : {&w, &b, &h}) {
      wrong += part->wrong;
      if (part->wrong > 0)
        fmt::print(stderr, "{}: NaN or infinity in the wrong place at {:.9g} ({} inputs)\n", f.name,
                   part->wrong_at, part->wrong);
    }
  }
  return wrong > 0 ? 1 : 0;
}
