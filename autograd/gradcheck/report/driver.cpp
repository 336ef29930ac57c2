// Runs the checks of many operations on several threads, and reports them in order.
#include "autograd/gradcheck/report/driver.h"

#include <bobbin/error.h>
#include <cxxabi.h>
#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace bobbin::gradcheck_detail {
namespace {

class ProgressBar {
 public:
  explicit ProgressBar(std::size_t total) : total_(total) {}
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

void for_each_operation(std::span<const std::string_view> names, int jobs,
                        const std::function<void(std::size_t)>& work,
                        const std::function<void(std::size_t)>& show) {
  const std::size_t total = names.size();
  std::vector<std::exception_ptr> thrown(total);
  std::vector<char> done(total);
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::condition_variable changed;
  const auto run = [&] {
    for (std::size_t i; (i = next++) < total;) {
      try {
        work(i);
      } catch (const Error&) {
        thrown[i] = std::current_exception();
      } catch (...) {
        thrown[i] = std::make_exception_ptr(Error(fmt::format("{}: {}", names[i], caught())));
      }
      const std::lock_guard lock(mutex);
      done[i] = 1;
      changed.notify_one();
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < jobs; ++i) threads.emplace_back(run);
  ProgressBar bar(total);
  for (std::size_t i = 0; i < total; ++i) {
    bar.show(i, names[i]);
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return done[i] != 0; });
    }
    bar.clear();
    if (thrown[i]) {
      next = total;  // no thread starts another operation
      threads.clear();
      std::rethrow_exception(thrown[i]);
    }
    show(i);
  }
}

std::string caught() {
  try {
    throw;
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    const std::unique_ptr<char, void (*)(void*)> type(
        abi::__cxa_demangle(abi::__cxa_current_exception_type()->name(), nullptr, nullptr, nullptr),
        std::free);
    return fmt::format("it threw an object of type {}", type ? type.get() : "?");
  }
}

void print_row(std::string_view verdict, std::string_view name, std::string_view columns) {
  fmt::print("{} {:<34} {}\n", verdict, name, columns);
}

ExitStatus exit_status(bool any_failed, bool any_undecided, bool any_ran) {
  if (any_failed) return failed;
  return any_undecided || !any_ran ? nothing_ran : passed;
}

}  // namespace bobbin::gradcheck_detail
