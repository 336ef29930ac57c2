#include "autograd/gradcheck/check_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace bobbin::gradcheck_detail {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

// A bar on a terminal, below what is printed.
class Bar {
 public:
  explicit Bar(std::size_t total) : total_(total) {}
  void show(std::size_t done, std::string_view name) {
    if (!terminal_) return;
    constexpr std::size_t width = 30;
    const std::size_t full = width * done / total_;
    fmt::print(stderr, "\r[{}{}] {}/{} {}\x1b[K", std::string(full, '='), std::string(width - full, ' '),
               done, total_, name);
    std::fflush(stderr);
  }
  void clear() {
    if (terminal_) fmt::print(stderr, "\r\x1b[K");
  }

 private:
  std::size_t total_;
  bool terminal_ = isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
};

}  // namespace

std::string quoted(const std::string& s) {
  std::string out = "'";
  for (const char c : s) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

namespace {

void print_failure(const CheckResult& r, const RunOptions& options, bool model) {
  fmt::print("{} {} ({}), {}: {}\n", name(r.report.verdict), r.op, r.sample, r.check,
             r.report.mismatches.empty() ? r.report.failure : "the worst, and with which cotangent");
  for (auto& m : r.report.mismatches) fmt::print("       {}\n", describe(m));
  fmt::print("       again: {} --{} {}{} {}\n", options.repeat, model ? "model" : "op", r.op,
             model ? "" : " --sample " + quoted(r.sample), r.again);
}

void print_line(std::span<const CheckResult> results, const RunOptions& options, bool model) {
  if (results.empty()) return;
  const Summary s = summarize(results);
  Verdict all = s.passed > 0 ? Verdict::pass : Verdict::skip;
  double worst = 0, seconds = 0;
  for (auto& r : results) {
    const bool counts = r.report.verdict != Verdict::pass && r.report.verdict != Verdict::skip;
    if (counts && r.report.verdict < all) all = r.report.verdict;
    if (!(r.report.worst <= worst)) worst = r.report.worst;
    seconds += r.seconds;
    if (counts) print_failure(r, options, model);
  }
  fmt::print("{:<12} {:<34} {:>4} samples {:>5} checks {:>7} derivatives {:>9.1e} {:>7.2f} s\n", name(all),
             results.front().op, s.samples, s.checks, s.derivatives, worst, seconds);
  if (!options.verbose) return;
  for (auto& r : results)
    fmt::print("  {:<10} {}, {}: {} derivatives, worst {:.1e}{}{}\n", name(r.report.verdict), r.sample,
               r.check, r.report.elements, r.report.worst, r.report.failure.empty() ? "" : "; ",
               r.report.failure);
}

}  // namespace

Run run_checks(std::span<const OpInfo> ops, std::span<const ModelInfo> models, const RunOptions& options) {
  const auto began = Clock::now();
  const auto more = [&] { return options.budget <= 0 || since(began) < options.budget; };
  const std::size_t total = ops.size() + models.size();
  std::vector<std::vector<CheckResult>> results(total);
  std::vector<std::exception_ptr> thrown(total);
  std::vector<char> done(total);
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::condition_variable changed;
  const auto work = [&] {
    for (std::size_t i; (i = next++) < total;) {
      try {
        results[i] = i < ops.size() ? check_op(ops[i], options.check, more)
                     : more()       ? check_model(models[i - ops.size()], options.check)
                                    : std::vector<CheckResult>();
      } catch (...) {
        thrown[i] = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      done[i] = 1;
      changed.notify_one();
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < options.jobs; ++i) threads.emplace_back(work);
  Run run;
  Bar bar(std::max<std::size_t>(total, 1));
  for (std::size_t i = 0; i < total; ++i) {
    const bool model = i >= ops.size();
    bar.show(i, model ? models[i - ops.size()].name : ops[i].name);
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return done[i] != 0; });
    }
    bar.clear();
    if (thrown[i]) {
      next = total;
      threads.clear();
      std::rethrow_exception(thrown[i]);
    }
    print_line(results[i], options, model);
    std::ranges::move(results[i], std::back_inserter(run.results));
  }
  run.summary = summarize(run.results);
  run.summary.seconds = since(began);
  run.summary.complete = more();
  const Summary& s = run.summary;
  fmt::print(
      "{} operations, {} samples, {} checks of {} derivatives: {} passed, {} failed, {} inconclusive, {} "
      "skipped; {:.2f} s{}\n",
      s.ops, s.samples, s.checks, s.derivatives, s.passed, s.failed, s.inconclusive, s.skipped, s.seconds,
      s.complete ? "" : "; the budget ran out");
  return run;
}

}  // namespace bobbin::gradcheck_detail
