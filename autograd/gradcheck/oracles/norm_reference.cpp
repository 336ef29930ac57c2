// References of layer norm, RMS norm and group norm, by their definitions.
#include "autograd/gradcheck/oracles/reference.h"
#include "ops/norm/row_norm.h"

namespace bobbin::gradcheck_detail {
namespace {

// Which elements a cell has: those of x that are normalised together, then the weights and the biases that
// they have, `repeat` neighbours the same one.
struct Part {
  std::vector<std::int64_t> x;
  std::int64_t first_weight, weights;
};

std::vector<Cell> cells_of(const std::vector<Part>& parts, Inputs x) {
  std::vector<Cell> cells;
  for (const Part& part : parts) {
    Cell cell;
    for (const std::int64_t i : part.x) cell.in.push_back({0, i});
    for (int k = 1; k < static_cast<int>(x.size()); ++k)
      for (std::int64_t i = 0; x[static_cast<std::size_t>(k)] && i < part.weights; ++i)
        cell.in.push_back({k, part.first_weight + i});
    cell.out = part.x;
    cells.push_back(std::move(cell));
  }
  return cells;
}

template<class T>
std::vector<T> normalized(std::span<const T> x, bool centred, double eps) {
  const T count(static_cast<double>(x.size()));
  T mean(0), squares(0);
  if (centred)
    for (const T& v : x) mean += v / count;
  for (const T& v : x) squares += (v - mean) * (v - mean) / count;
  std::vector<T> out;
  for (const T& v : x) out.push_back((v - mean) / sqrt(squares + T(eps)));
  return out;
}

std::unique_ptr<Reference> rows(const RowNormLayout& l, Inputs x, bool centred, double eps) {
  const std::int64_t channels = l.length > 0 ? l.length / l.repeat : 0;
  std::vector<Part> parts;
  for (std::int64_t r = 0; r < l.rows(x[0]); ++r) {
    Part part{{}, r % l.groups * channels, channels};
    for (std::int64_t i = 0; i < l.length; ++i) part.x.push_back(r * l.length + i);
    parts.push_back(std::move(part));
  }
  const bool weighted(x[1]), biased = x.size() > 2 && x[2];
  const auto repeat = static_cast<std::size_t>(l.repeat), weights = static_cast<std::size_t>(channels);
  return reference(cells_of(parts, x), [=]<class T>(std::size_t, std::span<const T> in, std::span<T> out) {
    const std::size_t n = out.size();
    const auto normal = normalized(in.first(n), centred, eps);
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = normal[i];
      if (weighted) out[i] = out[i] * in[n + i / repeat];
      if (biased) out[i] += in[n + (weighted ? weights : 0) + i / repeat];
    }
  });
}

}  // namespace

std::unique_ptr<Reference> norm_reference(const OpBase& op, Inputs x) {
  if (const auto* o = as<LayerNorm>(op)) return rows(o->layout, x, true, o->eps);
  if (const auto* o = as<RmsNorm>(op)) return rows(o->layout, x, false, o->eps);
  if (const auto* o = as<GroupNorm>(op)) return rows(o->layout, x, true, o->eps);
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
