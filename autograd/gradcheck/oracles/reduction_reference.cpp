// References of reductions and running sums, by their definitions. If several elements are extreme, amax,
// amin and the infinite norm are their mean here, whose derivative is spread evenly over them, as documented.
#include <algorithm>

#include "autograd/gradcheck/oracles/reference.h"
#include "ops/reduce/cumsum.h"
#include "ops/reduce/reduce.h"

namespace bobbin::gradcheck_detail {
namespace {

template<class T>
T total(std::span<const T> x) {
  T sum(0);
  for (const T& v : x) sum += v;
  return sum;
}
template<class T>
T magnitude(const T& x) {
  return x < T(0) ? -x : x;
}

template<class T>
T variance(std::span<const T> x, double correction) {
  const T mean = total(x) / T(static_cast<double>(x.size()));
  T sum(0);
  for (const T& v : x) sum += (v - mean) * (v - mean);
  return sum / T(static_cast<double>(x.size()) - correction);
}

template<class T>
T first_extreme(std::span<const T> x, bool largest) {
  const T* found = &x[0];
  for (const T& v : x)
    if (largest ? v > *found : v < *found) found = &v;
  return *found;
}
template<class T>
T shared_extreme(std::span<const T> x, bool largest) {
  const T extreme = first_extreme(x, largest);
  T sum(0);
  double count = 0;
  for (const T& v : x)
    if (v == extreme) sum += v, ++count;
  return sum / T(count);
}

template<class T>
T log_sum_exp(std::span<const T> x) {
  const T shift(value(first_extreme(x, true)));  // every constant gives the same function
  T sum(0);
  for (const T& v : x) sum += exp(v - shift);
  return shift + log(sum);
}

template<class T>
T norm_of(std::span<const T> x, double p) {
  std::vector<T> m;
  for (const T& v : x) m.push_back(magnitude(v));
  const std::span<const T> sizes(m);
  if (std::isinf(p)) return shared_extreme(sizes, true);
  T sum(0);
  for (const T& v : sizes) sum += p == 1 ? v : p == 2 ? v * v : pow(v, T(p));
  return p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, T(1 / p));
}

std::vector<Cell> reduced(const Tensor& x, const ReductionAxes& over) {
  std::vector<Cell> cells;
  for (auto& slice : slices(x.shape(), over.normalized(x.shape()))) {
    Cell cell;
    for (const std::int64_t i : slice) cell.in.push_back({0, i});
    cell.out = {static_cast<std::int64_t>(cells.size())};
    cells.push_back(std::move(cell));
  }
  return cells;
}

template<class F>
std::unique_ptr<Reference> reduction(const Tensor& x, const ReductionAxes& over, F f) {
  return reference(reduced(x, over),
                   [f]<class T>(std::size_t, std::span<const T> in, std::span<T> out) { out[0] = f(in); });
}

std::unique_ptr<Reference> deviations(const Deviation& op, const Tensor& x) {
  std::vector<Cell> cells = reduced(x, {op.axes});
  for (Cell& cell : cells) {
    cell.out.clear();
    for (auto& in : cell.in) cell.out.push_back(in.element);
  }
  return reference(std::move(cells), []<class T>(std::size_t, std::span<const T> in, std::span<T> out) {
    const T mean = total(in) / T(static_cast<double>(in.size()));
    for (std::size_t i = 0; i < in.size(); ++i) out[i] = in[i] - mean;
  });
}

std::unique_ptr<Reference> running(const CumSum& op, const Tensor& x) {
  std::vector<Cell> cells;
  for (auto& slice : slices(x.shape(), {normalize_axis("gradcheck", op.axis, x.rank())})) {
    if (op.reverse) std::ranges::reverse(slice);
    Cell cell;
    for (const std::int64_t i : slice) cell.in.push_back({0, i});
    cell.out = slice;
    cells.push_back(std::move(cell));
  }
  return reference(std::move(cells), []<class T>(std::size_t, std::span<const T> in, std::span<T> out) {
    T sum(0);
    for (std::size_t i = 0; i < in.size(); ++i) out[i] = sum += in[i];
  });
}

}  // namespace

std::unique_ptr<Reference> reduction_reference(const OpBase& op, Inputs x) {
  const auto run = [&](const auto& o, auto f) { return reduction(x[0], o.over, f); };
  if (const auto* o = as<Sum>(op)) return run(*o, [](auto in) { return total(in); });
  if (const auto* o = as<Mean>(op))
    return run(*o,
               []<class T>(std::span<const T> in) { return total(in) / T(static_cast<double>(in.size())); });
  if (const auto* o = as<Var>(op)) return run(*o, [c = o->correction](auto in) { return variance(in, c); });
  if (const auto* o = as<Deviation>(op)) return deviations(*o, x[0]);
  if (const auto* o = as<Std>(op))
    return run(*o, [c = o->correction](auto in) { return sqrt(variance(in, c)); });
  if (const auto* o = as<Max>(op)) return run(*o, [](auto in) { return first_extreme(in, true); });
  if (const auto* o = as<Min>(op)) return run(*o, [](auto in) { return first_extreme(in, false); });
  if (const auto* o = as<AMax>(op)) return run(*o, [](auto in) { return shared_extreme(in, true); });
  if (const auto* o = as<AMin>(op)) return run(*o, [](auto in) { return shared_extreme(in, false); });
  if (const auto* o = as<LogSumExp>(op)) return run(*o, [](auto in) { return log_sum_exp(in); });
  if (const auto* o = as<Norm>(op)) return run(*o, [p = o->p](auto in) { return norm_of(in, p); });
  if (const auto* o = as<CumSum>(op)) return running(*o, x[0]);
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
