// Compares the derivatives of a function with finite differences, element by element.
#include <bobbin/autograd.h>
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/gradcheck/oracles/finite_difference.h"
#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/oracles/integrity.h"

namespace bobbin {
namespace {

using namespace gradcheck_detail;

constexpr double most_kinks = 0.05;  // of the elements
constexpr std::size_t kept_mismatches = 10;

class Check {
 public:
  Check(const Function& f, Inputs inputs, const GradcheckOptions& options)
      : f_(f), x_(leaves(inputs)), options_(options) {}

  GradcheckReport run() {
    ys_ = f_(x_);
    y_ = flat(ys_);
    v_ = cotangents(ys_);
    const std::vector<Tensor> wanted = floating(x_);
    for (const Flat& v : v_)
      gradients_.push_back(weighted_gradients(ys_, shaped(v, ys_), wanted, CreateGraph::no));
    zeros_stay_zeros(wanted);
    if (options_.at_kinks) state_rules();
    std::size_t j = 0;
    for (std::size_t k = 0; k < x_.size(); ++k) {
      report_.shapes.push_back(x_[k] ? x_[k].shape() : Shape());
      report_.errors.emplace_back();
      if (varied(x_[k])) compare_input(k, j++);
    }
    report_.verdict = verdict();
    if (!report_.ok()) report_.failure = fmt::format("order {}, {}", options_.order, why());
    return std::move(report_);
  }

  /// Whether elements are at kinks without a documented derivative.
  bool at_kinks() const { return !kinks_.empty(); }
  /// The inputs, with these moved a little.
  std::vector<Tensor> off_kinks() const {
    auto moved = leaves(x_);
    for (auto& [k, i] : kinks_) {
      const NoGrad quiet;
      double& x = moved[k].mutable_data<double>()[i];
      const double by = uniform({}, 0.1, 0.3, DType::f64).item() * std::max(std::abs(x), 1.0);
      x += bernoulli({}, 0.5, DType::f64).item() > 0 ? by : -by;
    }
    return moved;
  }

 private:
  void zeros_stay_zeros(const std::vector<Tensor>& wanted) {
    const auto g = weighted_gradients(ys_, shaped(Flat(y_.size()), ys_), wanted, CreateGraph::no);
    for (std::size_t j = 0; j < g.size(); ++j) {
      const auto values = g[j].to_vector<double>();
      for (std::size_t i = 0; i < values.size(); ++i)
        if (!(values[i] == 0))
          add({options_.order, input_of(j), static_cast<std::int64_t>(i), g[j].shape(), values[i], 0, 0,
               "zero", "exactly zero"},
              std::numeric_limits<double>::infinity());
    }
  }

  // Computes the documented gradients for each cotangent.
  void state_rules() {
    const Flat slopes = options_.at_kinks.to_vector<double>();
    for (const Flat& v : v_) {
      Flat g = expand(shaped(v, ys_).front(), x_.front().shape()).to_vector<double>();
      for (std::size_t i = 0; i < g.size(); ++i) g[i] *= slopes.at(i);
      rules_.push_back(g);
    }
  }

  void compare_input(std::size_t k, std::size_t j) {
    std::vector<Flat> analytic;
    for (auto& g : gradients_) analytic.push_back(g[j].to_vector<double>());
    const auto values = x_[k].to_vector<double>();
    auto& errors = report_.errors.back();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Along along = [&](double value) { return outputs(k, i, value); };
      Flat a;
      for (auto& g : analytic) a.push_back(g[i]);
      auto slopes = quick_slopes(along, values[i], v_);
      if (!agree(slopes, a)) slopes = careful_slopes(along, values[i], y_, v_);
      errors.push_back(judge(slopes, a, k, i));
      ++report_.elements;
    }
  }

  Flat outputs(std::size_t k, std::size_t i, double value) {
    std::vector<Tensor> moved = leaves(x_);
    {
      const NoGrad quiet;
      moved[k].mutable_data<double>()[i] = value;
    }
    return flat(f_(moved));
  }

  static bool agree(std::span<const Slope> slopes, const Flat& a) {
    for (std::size_t c = 0; c < slopes.size(); ++c)
      if (!(std::abs(a[c] - slopes[c].value) <= slopes[c].tolerance()) || !slopes[c].settled()) return false;
    return true;
  }

  // Compares one element for all cotangents. Returns the largest error divided by its tolerance.
  double judge(std::span<const Slope> slopes, const Flat& a, std::size_t k, std::size_t i) {
    double worst = 0;
    Mismatch wrong;  // of the worst cotangent
    bool right = true, kink = false, unsettled = false;
    const auto compare = [&](Mismatch m, double error) {
      const bool fits = error <= m.tolerance;
      const double relative = error == 0 ? 0 : error / m.tolerance;
      right &= fits;
      if (!(relative <= worst)) {
        worst = relative;
        wrong = std::move(m);
      }
      return fits;
    };
    for (std::size_t c = 0; c < slopes.size(); ++c) {
      const Slope& s = slopes[c];
      Mismatch m{options_.order, static_cast<int>(k), static_cast<std::int64_t>(i), x_[k].shape(), a[c],
                 s.value,        s.tolerance(),       cotangent_names[c],           "differences"};
      double error = m.error();
      if (s.kind == Slope::Kind::kink) {
        const auto [low, high] = std::minmax(s.value, s.right);
        kink = true;
        m.oracle = "one-sided differences";
        m.numeric = a[c] > high ? high : low;
        error = a[c] >= low && a[c] <= high ? 0 : m.error();
      }
      // A wrong derivative fails even if the differences are not accurate enough to pass a right one.
      if (compare(m, error) && !s.settled() && s.kind == Slope::Kind::smooth) {
        unsettled = true;
        m.oracle = "unsettled";
        add(m, 0);
      }
      if (k == 0 && !rules_.empty()) {
        m.oracle = "the documented derivative";
        m.numeric = rules_[c][i];
        m.tolerance = 0x1p-49 * std::abs(m.numeric);
        compare(m, m.error());
      }
    }
    if (!right) add(wrong, worst);
    if (kink && (k > 0 || rules_.empty())) kinks_.emplace_back(k, i);
    report_.nonsmooth += kink;
    report_.inconclusive += unsettled;
    if (!(worst <= report_.worst)) report_.worst = worst;
    return worst;
  }

  void add(Mismatch m, double by_tolerance) {
    const auto place = std::ranges::find_if(rank_, [&](double r) { return !(by_tolerance <= r); });
    const auto at = place - rank_.begin();
    rank_.insert(place, by_tolerance);
    report_.mismatches.insert(report_.mismatches.begin() + at, std::move(m));
    if (rank_.size() <= kept_mismatches) return;
    rank_.pop_back();
    report_.mismatches.pop_back();
  }

  Verdict verdict() const {
    if (std::ranges::any_of(report_.mismatches, [](auto& m) { return m.oracle != "unsettled"; }))
      return Verdict::fail;
    if (static_cast<double>(kinks_.size()) > most_kinks * static_cast<double>(report_.elements))
      return Verdict::nonsmooth;
    if (report_.inconclusive > 0) return Verdict::inconclusive;
    return report_.elements == 0 ? Verdict::skip : Verdict::pass;
  }

  std::string why() const {
    switch (report_.verdict) {
      case Verdict::nonsmooth:
        return fmt::format("{} of {} elements lie at kinks, {} may", kinks_.size(), report_.elements,
                           static_cast<int>(most_kinks * static_cast<double>(report_.elements)));
      case Verdict::skip:
        return "there is no floating element to differentiate for";
      case Verdict::inconclusive:
        return fmt::format("differences settle nowhere for {} of {} elements; {}", report_.inconclusive,
                           report_.elements, describe(report_.mismatches.front()));
      default:
        return describe(report_.mismatches.front());
    }
  }

  int input_of(std::size_t j) const {
    for (std::size_t k = 0; k < x_.size(); ++k)
      if (varied(x_[k]) && j-- == 0) return static_cast<int>(k);
    return -1;
  }

  const Function& f_;
  std::vector<Tensor> x_, ys_;
  Flat y_;
  std::vector<Flat> v_, rules_;                 // by cotangent
  std::vector<std::vector<Tensor>> gradients_;  // by cotangent
  const GradcheckOptions& options_;
  GradcheckReport report_;
  std::vector<double> rank_;                                // each mismatch's error divided by its tolerance
  std::vector<std::pair<std::size_t, std::size_t>> kinks_;  // input and index of kinks without a rule
};

// Checks f, and moves elements that are at kinks by chance away from them, three times at most.
GradcheckReport check(const Function& f, std::vector<Tensor> inputs, const GradcheckOptions& options) {
  for (int moves = 3;; --moves) {
    Check attempt(f, inputs, options);
    auto report = attempt.run();
    if (moves == 0 || report.verdict == Verdict::fail || !attempt.at_kinks()) return report;
    inputs = attempt.off_kinks();
  }
}

void with_integrity(GradcheckReport& report, const std::function<Tensor(Inputs)>& f, Inputs inputs,
                    const GradcheckOptions& options) {
  const auto found = check_integrity(f, inputs, options.seed, options.repeats);
  if (found.failure.empty() || report.verdict == Verdict::fail) return;
  report.verdict = found.verdict;
  report.failure = found.failure;
}

}  // namespace

GradcheckReport gradcheck(const std::function<Tensor(Inputs)>& f, std::span<const Tensor> inputs,
                          const GradcheckOptions& options) {
  for (const Tensor& x : inputs)
    if (varied(x) && x.dtype() != DType::f64)
      fail<DTypeError>("gradcheck: inputs must be f64, where differences are exact enough; got ", x.spec());
  if (options.order != 1 && options.order != 2)
    fail<ValueError>("gradcheck: expected order 1 or 2; got ", options.order);
  if (options.at_kinks && options.order != 1)
    fail<ValueError>("gradcheck: at_kinks are derivatives of order 1");
  if (options.at_kinks && (inputs.empty() || options.at_kinks.shape() != inputs.front().shape()))
    fail<ShapeError>("gradcheck: at_kinks must have the first input's shape; got ", options.at_kinks.spec());
  const GeneratorScope draws({options.seed, 0});
  // f draws the same random numbers in every call.
  Function function = [&f, again = Generator{options.seed + 1, 0}](Inputs x) {
    const GeneratorScope own(again);
    return std::vector<Tensor>{f(x)};
  };
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  if (options.order == 2) {
    const auto v = random_cotangents(function(leaves(all)));
    function = derivative(function, all.size());
    all.insert(all.end(), v.begin(), v.end());
  }
  GradcheckReport report = check(function, all, options);
  if (options.order == 1) with_integrity(report, f, inputs, options);
  return report;
}

}  // namespace bobbin
