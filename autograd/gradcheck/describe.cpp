// Verdicts and mismatches as text.
#include <bobbin/gradcheck.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

namespace bobbin {

std::string_view name(Verdict v) {
  constexpr std::string_view names[] = {
      "FAIL", "SAVED_CORRUPTED", "NONDETERMINISTIC", "NONSMOOTH", "INCONCLUSIVE", "SKIP", "PASS"};
  return names[static_cast<int>(v)];
}

double Mismatch::error() const { return std::abs(analytic - numeric); }

std::string describe(const Mismatch& m) {
  std::vector<std::int64_t> at(m.shape.begin(), m.shape.end());
  std::int64_t rest = m.index;
  for (std::size_t i = at.size(); i-- > 0;) {
    const std::int64_t n = at[i];
    at[i] = rest % n;
    rest /= n;
  }
  const double ulp = std::abs(std::nextafter(m.numeric, INFINITY) - m.numeric);
  return fmt::format(
      "input {}[{}] (flat {}), cotangent {}: analytic {:.17g}, {} {:.17g}; error {:.2g} absolute, {:.2g} "
      "relative, {:.2g} ULP; tolerance {:.2g}",
      m.input, fmt::join(at, ","), m.index, m.cotangent, m.analytic, m.oracle, m.numeric, m.error(),
      m.error() / std::abs(m.numeric), m.error() / ulp, m.tolerance);
}

}  // namespace bobbin
