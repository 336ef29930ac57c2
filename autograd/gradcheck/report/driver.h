// What the three modes of gradcheck (derivatives, mutants, narrow types) share: the driver that runs a
// function for every operation on several threads, the table, and the exit statuses.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace bobbin::gradcheck_detail {

/// Measures time from its construction, against a limit in seconds; 0 is no limit.
class Budget {
 public:
  explicit Budget(double seconds) : limit_(seconds) {}
  double passed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }
  /// Whether another check may start.
  bool left() {
    const bool yes = limit_ <= 0 || passed() < limit_;
    if (!yes) ran_out_ = true;
    return yes;
  }
  /// Whether left() has returned false.
  bool ran_out() const { return ran_out_; }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  double limit_;
  std::atomic<bool> ran_out_ = false;
};

/// Calls work(i) for each name on `jobs` threads, in any order, and show(i) on the calling thread, in order,
/// as soon as work(i) has returned. Shows a progress bar on a terminal. Rethrows the exceptions of work; one
/// that is none of Bobbin's as an Error that names the operation.
void for_each_operation(std::span<const std::string_view> names, int jobs,
                        const std::function<void(std::size_t)>& work,
                        const std::function<void(std::size_t)>& show);

/// What the exception that is being handled says; for one that is no std::exception, its type.
std::string caught();

/// Prints a row of the table: the verdict on an operation, its name, and the columns of the mode.
void print_row(std::string_view verdict, std::string_view name, std::string_view columns);

enum ExitStatus { passed = 0, failed = 1, usage = 2, nothing_ran = 3, file_trouble = 4, no_device = 5 };
/// The exit status of the program. An undecided check neither passed nor failed.
ExitStatus exit_status(bool any_failed, bool any_undecided, bool any_ran);

}  // namespace bobbin::gradcheck_detail
