// The precision of every operation of the catalogue, and its table.
#include <bobbin/ops.h>
#include <bobbin/random.h>
#include <fmt/format.h>

#include <algorithm>

#include "autograd/gradcheck/integrity.h"
#include "autograd/gradcheck/precision.h"
#include "autograd/gradcheck/walk.h"

namespace bobbin::gradcheck_detail {

std::vector<PrecisionRow> compare_precision(std::span<const OpInfo> ops, DType dtype, Device device,
                                            std::uint64_t seed) {
  std::vector<PrecisionRow> rows;
  for (auto& op : ops) {
    if (!op.samples) continue;
    PrecisionRow row{std::string(op.name), dtype, 0, {}, {}, {}};
    manual_seed(seed);
    for (auto& sample : op.samples()) {
      if (!sample.throws.empty()) continue;
      const auto report = check_precision(sample, op.differentiable && sample.differentiable, dtype, device);
      if (!report.skipped.empty()) {
        row.skipped.push_back(sample.note + ": " + report.skipped);
        continue;
      }
      ++row.samples;
      if (op.differentiable && sample.differentiable) {
        std::vector<Tensor> there;
        for (const Tensor& x : sample.inputs)
          there.push_back(x ? to(varied(x) ? to(x, dtype) : x, device) : x);
        const auto found = check_integrity(sample.call, there, seed, 20);
        if (!found.failure.empty()) row.broken.push_back(sample.note + ": " + found.failure);
      }
      PrecisionReport& all = row.total;
      all.runs += report.runs, all.elements += report.elements;
      if (!(report.worst <= all.worst)) all.worst = report.worst;
      for (auto& [name, ulps] : report.ulps) all.ulps[name] = std::max(all.ulps[name], ulps);
      all.failed.insert(all.failed.end(), report.failed.begin(), report.failed.end());
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void print(std::span<const PrecisionRow> rows, bool verbose) {
  PrecisionReport all;
  std::size_t failed = 0, broken = 0;
  int samples = 0;
  for (auto& row : rows) {
    const auto& total = row.total;
    const auto own = total.ulps.find(row.op);
    fmt::print("{} {:<34} {:<4} {:>3} samples {:>5} runs {:>8} elements  error by bound {:.3f}{}\n",
               !row.ok()         ? "FAIL"
               : row.samples > 0 ? "ok  "
                                 : "skip",
               row.op, name(row.dtype), row.samples, total.runs, total.elements, total.worst,
               own == total.ulps.end() ? "" : fmt::format(", {:.2f} ULP", own->second));
    for (std::size_t i = 0; i < std::min<std::size_t>(10, total.failed.size()); ++i) {
      const Inexact& e = total.failed[i];
      fmt::print("     {}{} at flat index {}: {:.9g}, not {:.9g} ({:.3g} ULP)\n", e.op,
                 e.derivative ? fmt::format("'s gradient of its input {}", e.input) : "", e.index, e.got,
                 e.want, e.ulps);
    }
    for (auto& what : row.broken) fmt::print("     {}\n", what);
    broken += row.broken.size();
    if (verbose)
      for (auto& why : row.skipped) fmt::print("     skipped {}\n", why);
    samples += row.samples, failed += total.failed.size();
    all.runs += total.runs, all.elements += total.elements;
  }
  fmt::print(
      "{} lines, {} samples, {} runs of operations against f64 on the CPU, {} elements, {} too far "
      "off; 20 walks a sample, {} without the same bits\n",
      rows.size(), samples, all.runs, all.elements, failed, broken);
}

}  // namespace bobbin::gradcheck_detail
