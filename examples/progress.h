// A progress bar on a terminal, and plain lines if the output is no terminal.
#pragma once
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

class Progress {
 public:
  /// For `total` items of work; items are counted in images here.
  explicit Progress(std::int64_t total) : total_(total) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows `done` of `total` with a text on either side of the bar; cheap enough to call for every batch.
  template<class Text>
  void update(std::int64_t done, Text&& text) {
    if (!terminal_) return;
    const auto now = Clock::now();
    if (now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    draw(done, text());
  }

  /// A line that stays, above the bar.
  void line(std::string_view text) {
    clear();
    fmt::print("{}\n", text);
    std::fflush(stdout);
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  void draw(std::int64_t done, const std::string& text) {
    const double rate = static_cast<double>(done) / std::max(seconds(), 1e-3);
    const auto left = static_cast<std::int64_t>(static_cast<double>(total_ - done) / std::max(rate, 1e-3));
    const auto tail = fmt::format("{}  {:.0f} images/s  {}:{:02} left", text, rate, left / 60, left % 60);
    winsize window{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
    const std::size_t width = known ? window.ws_col - 1u : 79u;  // the last column would wrap the line
    std::string bar;
    if (width >= tail.size() + 14) {
      const auto cells = std::min<std::size_t>(40, width - tail.size() - 4);
      const auto full =
          std::min(cells, cells * static_cast<std::size_t>(done) / static_cast<std::size_t>(total_));
      bar = fmt::format("[{}{}]  ", std::string(full, '='), std::string(cells - full, ' '));
    }
    fmt::print("\r{}\x1b[K", (bar + tail).substr(0, width));
    std::fflush(stdout);
    shown_ = true;
  }

  void clear() {
    if (!shown_) return;
    fmt::print("\r\x1b[K");
    std::fflush(stdout);
    shown_ = false;
  }

  std::int64_t total_;
  bool terminal_ = isatty(STDOUT_FILENO) == 1, shown_ = false;
  Clock::time_point start_ = Clock::now(), drawn_ = start_;
};
