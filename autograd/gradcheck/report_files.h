// What checks came to, in files for other programs and for the eye. Each throws IoError when its file cannot
// be written; a file is there whole or not at all.
#pragma once
#include <filesystem>
#include <span>

#include "autograd/gradcheck/sample_check.h"

namespace bobbin::gradcheck_detail {

struct Summary {
  int ops = 0, samples = 0, checks = 0;
  int passed = 0, failed = 0, inconclusive = 0, skipped = 0;  ///< checks
  std::int64_t derivatives = 0;
  double seconds = 0;
  bool complete = true;  ///< the budget sufficed
};
Summary summarize(std::span<const CheckResult>);

void write_json(const std::filesystem::path&, std::span<const CheckResult>, const Summary&);
/// A test suite an operation, a test case a check.
void write_junit(const std::filesystem::path&, std::span<const CheckResult>);
void write_text(std::string_view what, const std::filesystem::path&, const std::string&);
/// Each input's errors by their tolerances, as colours on a logarithmic scale: of the first check that
/// failed, or else of the one that came closest to it. False where nothing was compared so.
bool write_png(const std::filesystem::path&, std::span<const CheckResult>);

}  // namespace bobbin::gradcheck_detail
