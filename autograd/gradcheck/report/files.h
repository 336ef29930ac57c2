// Results of checks in files: JSON and JUnit XML for other programs, and a picture. Each function throws
// IoError if its file cannot be written; a file is written as a whole or not at all.
#pragma once
#include <filesystem>
#include <span>

#include "autograd/gradcheck/checks/checks.h"

namespace bobbin::gradcheck_detail {

void write_json(const std::filesystem::path&, std::span<const CheckResult>, const Summary&);
/// Writes the list of operations and models, with the number of samples of each operation; to stdout if the
/// path is "-".
void write_list(const std::filesystem::path&, std::span<const OpInfo>, std::span<const SampleCounts>,
                std::span<const ModelInfo>);
/// Writes JUnit XML: one test suite per operation, one test case per check.
void write_junit(const std::filesystem::path&, std::span<const CheckResult>);
/// Draws each input's errors, divided by their tolerances, as colours on a logarithmic scale: of the first
/// check that failed, or else of the one with the largest error. Returns false if no check has errors by
/// element.
bool write_png(const std::filesystem::path&, std::span<const CheckResult>);

}  // namespace bobbin::gradcheck_detail
