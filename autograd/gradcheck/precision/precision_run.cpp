// The mode that compares the precision of every operation with f64, and its table.
#include <bobbin/elementwise.h>
#include <fmt/format.h>

#include <algorithm>

#include "autograd/gradcheck/checks/checks.h"
#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/oracles/integrity.h"
#include "autograd/gradcheck/precision/precision.h"

namespace bobbin::gradcheck_detail {
namespace {

PrecisionRow compare_operation(const OpInfo& op, DType dtype, Device device, std::uint64_t seed) {
  PrecisionRow row{std::string(op.name), dtype, 0, {}, {}, {}};
  for (auto& sample : valid_samples(op, seed)) {
    const bool differentiable = op.differentiable && sample.differentiable;
    const auto report = check_precision(sample, differentiable, dtype, device);
    if (!report.skipped.empty()) {
      row.skipped.push_back(sample.note + ": " + report.skipped);
      continue;
    }
    ++row.samples;
    if (differentiable) {
      std::vector<Tensor> there;
      for (const Tensor& x : sample.inputs) there.push_back(x ? to(varied(x) ? to(x, dtype) : x, device) : x);
      const auto found = check_integrity(sample.call, there, seed, 20);
      if (!found.failure.empty()) row.broken.push_back(sample.note + ": " + found.failure);
    }
    PrecisionReport& all = row.total;
    all.runs += report.runs, all.elements += report.elements;
    if (!(report.worst <= all.worst)) all.worst = report.worst;
    for (auto& [name, ulps] : report.ulps) all.ulps[name] = std::max(all.ulps[name], ulps);
    all.failed.insert(all.failed.end(), report.failed.begin(), report.failed.end());
  }
  return row;
}

void print(const PrecisionRow& row, bool verbose) {
  const auto& total = row.total;
  const auto own = total.ulps.find(row.op);
  print_row(!row.ok()         ? "FAIL"
            : row.samples > 0 ? "ok  "
                              : "skip",
            row.op,
            fmt::format("{:<4} {:>3} samples {:>5} runs {:>8} elements  error by bound {:.3f}{}",
                        name(row.dtype), row.samples, total.runs, total.elements, total.worst,
                        own == total.ulps.end() ? "" : fmt::format(", {:.2f} ULP", own->second)));
  for (std::size_t i = 0; i < std::min<std::size_t>(10, total.failed.size()); ++i) {
    const Inexact& e = total.failed[i];
    fmt::print("     {}{} at flat index {}: {:.9g}, not {:.9g} ({:.3g} ULP)\n", e.op,
               e.derivative ? fmt::format("'s gradient of its input {}", e.input) : "", e.index, e.got,
               e.want, e.ulps);
  }
  for (auto& what : row.broken) fmt::print("     {}\n", what);
  if (verbose)
    for (auto& why : row.skipped) fmt::print("     skipped {}\n", why);
}

}  // namespace

std::vector<PrecisionRow> compare_precision(std::span<const OpInfo> all, std::span<const DType> dtypes,
                                            Device device, std::uint64_t seed, int jobs) {
  std::vector<const OpInfo*> ops;
  std::vector<std::string_view> names;
  for ([[maybe_unused]] const DType dtype : dtypes)
    for (auto& op : all)
      if (op.samples) ops.push_back(&op), names.push_back(op.name);
  std::vector<PrecisionRow> rows(ops.size());
  for_each_operation(
      names, device.is_cuda() ? 1 : jobs,
      [&](std::size_t i) {
        rows[i] = compare_operation(*ops[i], dtypes[i / (ops.size() / dtypes.size())], device, seed);
      },
      [](std::size_t) {});
  return rows;
}

void print(std::span<const PrecisionRow> rows, bool verbose) {
  std::size_t failed = 0, broken = 0;
  int samples = 0;
  std::int64_t runs = 0, elements = 0;
  for (auto& row : rows) {
    print(row, verbose);
    failed += row.total.failed.size(), broken += row.broken.size(), samples += row.samples;
    runs += row.total.runs, elements += row.total.elements;
  }
  fmt::print(
      "{} lines, {} samples, {} runs of operations against f64 on the CPU, {} elements, {} too far "
      "off; 20 walks a sample, {} without the same bits\n",
      rows.size(), samples, runs, elements, failed, broken);
}

}  // namespace bobbin::gradcheck_detail
