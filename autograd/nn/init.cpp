// Initialisers of weights.
#include <bobbin/elementwise.h>
#include <bobbin/init.h>
#include <bobbin/random.h>
#include <bobbin/reduce.h>
#include <bobbin/tape.h>

#include <Eigen/QR>
#include <cmath>

namespace bobbin::nn::init {
namespace {

Tensor& overwrite(Tensor& w, const Tensor& elements) {
  const NoGrad quiet;
  return w.copy_(elements);
}

void require_floating(std::string_view name, const Tensor& w) {
  if (!is_floating(w.dtype())) fail<DTypeError>(name, ": expected floating elements; got ", w.spec());
}

void require_finite(std::string_view name, std::string_view what, std::initializer_list<double> all) {
  for (const double x : all)
    if (!std::isfinite(x)) fail<ValueError>(name, ": expected ", what, "; got ", x);
}

void require_not_negative(std::string_view name, std::string_view what, double x) {
  if (!(x >= 0 && std::isfinite(x))) fail<ValueError>(name, ": expected a finite ", what, " >= 0; got ", x);
}

struct Fans {
  double in, out;
};
Fans fans(std::string_view name, const Tensor& w) {
  require_floating(name, w);
  if (w.rank() < 2) fail<ShapeError>(name, ": expected a weight [out, in, ...]; got ", w.spec());
  const auto per_pair =
      static_cast<double>(w.numel()) / static_cast<double>(std::max<std::int64_t>(1, w.size(0) * w.size(1)));
  return {static_cast<double>(w.size(1)) * per_pair, static_cast<double>(w.size(0)) * per_pair};
}

Tensor& uniform_of(Tensor& w, double std) {
  if (w.numel() == 0) return w;  // the deviation may be infinite
  const double bound =
      std::sqrt(3.0) * std;  // a uniform distribution's deviation is its half-width / sqrt(3)
  return uniform_(w, -bound, bound);
}

Tensor& normal_of(Tensor& w, double std) { return w.numel() == 0 ? w : normal_(w, 0, std); }

double xavier(std::string_view name, const Tensor& w, double gain) {
  const Fans f = fans(name, w);
  require_not_negative(name, "gain", gain);
  return gain * std::sqrt(2 / (f.in + f.out));
}
double kaiming(std::string_view name, const Tensor& w, const KaimingOptions& o) {
  const Fans f = fans(name, w);
  require_not_negative(name, "gain", o.gain);
  return o.gain / std::sqrt(o.fan == Fan::in ? f.in : f.out);
}

}  // namespace

double calculate_gain(Nonlinearity f, double slope) {
  switch (f) {
    case Nonlinearity::tanh:
      return 5. / 3;
    case Nonlinearity::relu:
      return std::sqrt(2.0);
    case Nonlinearity::leaky_relu:
      require_finite("calculate_gain", "a finite slope", {slope});
      return std::sqrt(2 / (1 + slope * slope));
    default:
      return 1;
  }
}

Tensor& constant_(Tensor& w, double value) {
  const NoGrad quiet;
  return w.fill_(value);
}
Tensor& uniform_(Tensor& w, double low, double high) {
  require_finite("uniform_", "finite bounds", {low, high});
  if (low > high) fail<ValueError>("uniform_: expected low <= high; got ", low, " and ", high);
  return overwrite(w, uniform(w.shape(), low, high, w.dtype(), w.device()));
}
Tensor& normal_(Tensor& w, double mean, double std) {
  require_finite("normal_", "a finite mean", {mean});
  require_not_negative("normal_", "std", std);
  return overwrite(w, randn(w.shape(), w.dtype(), w.device()) * std + mean);
}

Tensor& trunc_normal_(Tensor& w, double mean, double std, double low, double high) {
  require_floating("trunc_normal_", w);
  require_finite("trunc_normal_", "a finite mean and std", {mean, std});
  const auto below = [&](double x) { return std::erfc((mean - x) / (std * std::sqrt(2.0))) / 2; };
  if (!(std > 0) || !(below(high) - below(low) >= .01))
    fail<ValueError>("trunc_normal_: less than a hundredth of the distribution lies in [", low, ", ", high,
                     "]");
  const auto draw = [&] { return randn(w.shape(), w.dtype(), w.device()) * std + mean; };
  const NoGrad quiet;
  Tensor x = draw();
  while (true) {  // draws elements outside the interval again
    const Tensor inside = mul(to(x >= low, DType::i64), to(x <= high, DType::i64));
    if (sum(inside).item<std::int64_t>() == x.numel()) return overwrite(w, x);
    x = where(to(inside, DType::boolean), x, draw());
  }
}

Tensor& xavier_uniform_(Tensor& w, double gain) { return uniform_of(w, xavier("xavier_uniform_", w, gain)); }
Tensor& xavier_normal_(Tensor& w, double gain) { return normal_of(w, xavier("xavier_normal_", w, gain)); }
Tensor& kaiming_uniform_(Tensor& w, const KaimingOptions& o) {
  return uniform_of(w, kaiming("kaiming_uniform_", w, o));
}
Tensor& kaiming_normal_(Tensor& w, const KaimingOptions& o) {
  return normal_of(w, kaiming("kaiming_normal_", w, o));
}

// Q of a random matrix's QR decomposition, with the signs that make it uniform among such matrices (Mezzadri,
// arXiv:math-ph/0609050).
Tensor& orthogonal_(Tensor& w, double gain) {
  fans("orthogonal_", w);
  require_not_negative("orthogonal_", "gain", gain);
  if (w.numel() == 0) return w;
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const std::int64_t rows = w.size(0), cols = w.numel() / rows, tall = std::max(rows, cols),
                     thin = std::min(rows, cols);
  const Tensor drawn = randn({tall, thin}, DType::f64);
  const Eigen::HouseholderQR<Matrix> qr(Eigen::Map<const Matrix>(drawn.data<double>().data(), tall, thin));
  Matrix q = qr.householderQ() * Matrix::Identity(tall, thin);
  q *= (gain * qr.matrixQR().diagonal().array().sign()).matrix().asDiagonal();
  if (rows < cols) q.transposeInPlace();
  return overwrite(w, from_range(std::span(q.data(), static_cast<std::size_t>(q.size())), w.shape()));
}

}  // namespace bobbin::nn::init
