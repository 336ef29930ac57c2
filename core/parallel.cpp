// The threads of parallel_for, and the distribution of tiles to them.
#include <bobbin/error.h>
#include <bobbin/parallel.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace bobbin {
namespace {

int default_threads() {
  if (const char* v = std::getenv("BOBBIN_NUM_THREADS"))
    if (const int n = std::atoi(v); n >= 1 && n <= 1024) return n;
  cpu_set_t set;  // honours taskset and containers, which hardware_concurrency may not
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

// The tiles of one parallel_for. Each thread starts with one range of tiles, which is the same one when the
// same loop runs again: the data of these tiles may still be in its core's cache. A thread that has finished
// its range takes tiles of the other ranges.
struct Job {
  struct alignas(64) Range {
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };
  void (*call)(void*, std::int64_t);
  void* f;
  std::span<Range> ranges;
  std::atomic<bool> failed = false;
  std::exception_ptr error = nullptr;  // written by the one thread that sets `failed` first

  void run(std::size_t thread) {
    for (std::size_t k = 0; k < ranges.size(); ++k) run(ranges[(thread + k) % ranges.size()]);
  }

 private:
  void run(Range& range) {
    for (std::int64_t i; (i = range.next.fetch_add(1, std::memory_order_relaxed)) < range.end;) {
      if (failed.load(std::memory_order_relaxed)) return;
      try {
        call(f, i);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  }
};

thread_local bool inside_tile = false;

constexpr std::chrono::microseconds patience{
    100};  // about the time that a thread needs to fall asleep and wake up

// The calling thread and its workers. A worker waits for a job in a loop for a short while, and then sleeps,
// so that the core is free for others.
class Team {
 public:
  explicit Team(int threads) : ranges_(static_cast<std::size_t>(threads)) {
    try {
      for (int i = 1; i < threads; ++i)
        workers_.emplace_back([this, i] { work(static_cast<std::size_t>(i)); });
    } catch (const std::system_error& e) {
      stop();
      fail<Error>("parallel_for: ", threads, " threads cannot be started: ", e.what());
    } catch (...) {  // std::bad_alloc
      stop();
      throw;
    }
  }
  ~Team() { stop(); }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Distributes the tiles to the ranges of the threads.
  std::span<Job::Range> ranges(std::int64_t tiles) {
    const auto n = static_cast<std::int64_t>(ranges_.size());
    for (std::int64_t i = 0; i < n; ++i) {
      Job::Range& range = ranges_[static_cast<std::size_t>(i)];
      range.next = first_tile(tiles, i, n);
      range.end = first_tile(tiles, i + 1, n);
    }
    return ranges_;
  }
  void run(Job& job) {
    {
      std::lock_guard lock(mutex_);
      job_ = &job;
      epoch_.fetch_add(1);
    }
    if (sleeping_.load() > 0) wake_.notify_all();
    job.run(0);
    {
      std::lock_guard lock(mutex_);
      job_ = nullptr;  // workers that have not started yet are not needed
    }
    for (int spin = 0; active_.load() > 0; ++spin) spin < 1000 ? _mm_pause() : std::this_thread::yield();
  }

 private:
  // tiles * i / n without overflow.
  static std::int64_t first_tile(std::int64_t tiles, std::int64_t i, std::int64_t n) {
    return tiles / n * i + tiles % n * i / n;
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      epoch_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
    workers_.clear();
  }
  void work(std::size_t thread) {
    inside_tile = true;
    std::uint64_t seen = 0;
    for (;;) {
      // Measured by the clock, because a pause instruction takes between 4 and 140 cycles.
      const auto until = std::chrono::steady_clock::now() + patience;
      while (epoch_.load(std::memory_order_relaxed) == seen && std::chrono::steady_clock::now() < until)
        _mm_pause();
      std::unique_lock lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] { return epoch_.load() != seen; });
      --sleeping_;
      seen = epoch_.load();
      if (stop_) return;
      Job* job = job_;
      if (!job) continue;
      ++active_;
      lock.unlock();
      job->run(thread);
      --active_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> epoch_ = 0;
  std::atomic<int> active_ = 0, sleeping_ = 0;
  Job* job_ = nullptr;
  bool stop_ = false;
  std::vector<Job::Range> ranges_;
  std::vector<std::thread> workers_;
};

std::mutex team_mutex;  // held during a parallel_for that uses the team
// Not destroyed at exit: other threads, and destructors of objects that are older, may still use it.
Team* team = nullptr;
Team* team_of_parent = nullptr;  // after a fork(): a child has none of its threads, and cannot join them
std::atomic<int> wanted = 0;

// In a child of fork(), where only the thread that called fork() goes on.
void forget_team() {
  if (team) team_of_parent = std::exchange(team, nullptr);
  new (&team_mutex) std::mutex;  // another thread may have held it
}

Team& team_of(int threads) {
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, forget_team);
  if (!team || team->size() != threads) {
    delete std::exchange(team, nullptr);
    team = new Team(threads);
  }
  return *team;
}

}  // namespace

int num_threads() {
  int n = wanted.load(std::memory_order_relaxed);
  if (n == 0) wanted = n = default_threads();
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > 1024) fail<ValueError>("set_num_threads: expected 1 to 1024; got ", n);
  wanted = n;
}

void detail::run_tiles(std::int64_t tiles, void (*call)(void*, std::int64_t), void* f) {
  if (tiles <= 0) return;
  const int threads = num_threads();
  std::unique_lock lock(team_mutex, std::defer_lock);
  if (tiles == 1 || threads == 1 || inside_tile || !lock.try_lock()) {
    for (std::int64_t i = 0; i < tiles; ++i) call(f, i);
    return;
  }
  Team& team = team_of(threads);
  Job job{call, f, team.ranges(tiles)};
  inside_tile = true;
  team.run(job);
  inside_tile = false;
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace bobbin
