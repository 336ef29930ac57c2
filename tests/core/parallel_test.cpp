// parallel_for: every tile once, exceptions, nesting, and results for any number of threads.
#include <bobbin/error.h>
#include <bobbin/matmul.h>
#include <bobbin/parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace bobbin;
using namespace std::chrono_literals;
using testing::StrEq;
using testing::ThrowsMessage;

namespace {

struct Parallel : testing::Test {
  ~Parallel() override { set_num_threads(before); }
  int before = num_threads();
};

// Counts how often each tile was called.
std::vector<int> calls(std::int64_t tiles) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(std::max<std::int64_t>(tiles, 0)));
  parallel_for(tiles, [&](std::int64_t i) { ++counts.at(static_cast<std::size_t>(i)); });
  return {counts.begin(), counts.end()};
}

bool wait_for(const auto& condition) {
  const auto until = std::chrono::steady_clock::now() + 30s;
  while (!condition())
    if (std::chrono::steady_clock::now() > until)
      return false;
    else
      std::this_thread::yield();
  return true;
}

TEST_F(Parallel, CallsEveryTileOnce) {
  for (const int threads : {1, 2, 3, 8, 2}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (const std::int64_t tiles : {0, 1, 2, 7, 1000, 30'000})
      EXPECT_EQ(calls(tiles), std::vector<int>(static_cast<std::size_t>(tiles), 1))
          << tiles << " on " << threads;
  }
  EXPECT_EQ(calls(-5), std::vector<int>());
}

TEST_F(Parallel, CallsEveryTileOnceInManySmallRegions) {
  set_num_threads(4);
  for (int round = 0; round < 5000; ++round) ASSERT_EQ(calls(3), (std::vector{1, 1, 1})) << round;
}

TEST_F(Parallel, WakesATeamThatFellAsleep) {
  set_num_threads(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(2ms);
    ASSERT_EQ(calls(50), std::vector<int>(50, 1));
  }
}

TEST_F(Parallel, WorksOnSeveralThreadsAtOnce) {
  set_num_threads(3);
  std::atomic<int> begun = 0;
  parallel_for(3, [&](std::int64_t) {
    ++begun;
    EXPECT_TRUE(wait_for([&] { return begun == 3; })) << "no tile starts before another ends";
  });
}

TEST_F(Parallel, SeesWhatTilesWrote) {
  set_num_threads(4);
  std::vector<std::int64_t> plain(20'000);  // not atomic: a thread checker sees a missing join
  for (int round = 1; round <= 20; ++round) {
    parallel_for(20'000, [&](std::int64_t i) { plain[static_cast<std::size_t>(i)] += i; });
    ASSERT_EQ(std::accumulate(plain.begin(), plain.end(), std::int64_t{0}), round * 20'000LL * 19'999 / 2);
  }
}

TEST_F(Parallel, TakesAFunctionThatIsConstOrHasState) {
  set_num_threads(2);
  std::atomic<int> sum = 0;
  const auto fixed = [&](std::int64_t i) { sum += static_cast<int>(i); };
  parallel_for(10, fixed);
  struct Counter {
    std::atomic<int> n = 0;
    void operator()(std::int64_t) { ++n; }
  } counter;
  parallel_for(10, counter);
  EXPECT_EQ(sum, 45);
  EXPECT_EQ(counter.n, 10);
}

TEST_F(Parallel, ANestedCallStaysOnItsThread) {
  set_num_threads(4);
  std::atomic<int> inner = 0, elsewhere = 0;
  parallel_for(16, [&](std::int64_t) {
    const auto self = std::this_thread::get_id();
    parallel_for(10, [&](std::int64_t) {
      parallel_for(3, [&](std::int64_t) {
        ++inner;
        if (std::this_thread::get_id() != self) ++elsewhere;
      });
    });
  });
  EXPECT_EQ(inner, 16 * 10 * 3);
  EXPECT_EQ(elsewhere, 0);
  EXPECT_EQ(calls(100), std::vector<int>(100, 1)) << "the caller is outside again";
}

TEST_F(Parallel, RethrowsOnceEveryTileHasStopped) {
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    for (int round = 0; round < 200; ++round) {
      std::atomic<int> running = 0, started = 0;
      auto tile = [&](std::int64_t i) {
        ++started, ++running;
        struct Leave {
          std::atomic<int>& n;
          ~Leave() { --n; }
        } leave{running};
        if (i % 7 == 3) fail<ValueError>("tile ", i, " fails");
        std::this_thread::yield();
      };
      try {
        parallel_for(100'000, tile);
        FAIL() << "nothing was thrown";
      } catch (const ValueError& e) {
        ASSERT_EQ(running, 0) << "a tile still runs";
        ASSERT_TRUE(std::string(e.what()).ends_with(" fails"));
      }
      ASSERT_LT(started, 100'000) << "the tiles that were left were run all the same";
    }
    EXPECT_EQ(calls(1000), std::vector<int>(1000, 1)) << "the team works on";
  }
}

TEST_F(Parallel, ThrowsTheFirstOfManyExceptionsAndOfAnyType) {
  set_num_threads(4);
  for (int round = 0; round < 500; ++round)
    EXPECT_THROW(parallel_for(50, [](std::int64_t i) { throw static_cast<int>(i); }), int);
  EXPECT_THROW(parallel_for(1, [](std::int64_t) { throw std::logic_error("alone"); }), std::logic_error);
}

TEST_F(Parallel, ANestedExceptionLeavesTheCallerOutside) {
  set_num_threads(2);
  EXPECT_THROW(
      parallel_for(8, [](std::int64_t) { parallel_for(8, [](std::int64_t) { fail<ValueError>("deep"); }); }),
      ValueError);
  std::atomic<int> begun = 0;
  parallel_for(2, [&](std::int64_t) {
    ++begun;
    EXPECT_TRUE(wait_for([&] { return begun == 2; })) << "the team is no longer used";
  });
}

TEST_F(Parallel, ServesConcurrentCallers) {
  set_num_threads(3);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> callers;
    for (int id = 0; id < 4; ++id)
      callers.emplace_back([&, id] {
        for (int round = 0; round < 300; ++round) {
          const std::int64_t tiles = 1 + (id * 37 + round) % 60;
          try {
            if (calls(tiles) != std::vector<int>(static_cast<std::size_t>(tiles), 1)) ++wrong;
            if (round % 10 == 0) parallel_for(tiles, [&](std::int64_t) { throw id; });
          } catch (int thrower) {
            if (thrower != id) ++wrong;  // another caller's exception
          }
        }
      });
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(Parallel, TheNumberOfThreadsMayChangeAtAnyTime) {
  set_num_threads(2);
  parallel_for(8, [](std::int64_t i) { set_num_threads(1 + static_cast<int>(i) % 4); });
  std::jthread other([] {
    for (int i = 0; i < 100; ++i) set_num_threads(1 + i % 5);
  });
  for (int i = 0; i < 100; ++i) ASSERT_EQ(calls(20), std::vector<int>(20, 1));
}

TEST_F(Parallel, RefusesNumbersOfThreadsOutsideItsRange) {
  set_num_threads(2);
  for (const int n : {0, -1, 1025, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()})
    EXPECT_THAT(
        [=] { set_num_threads(n); },
        ThrowsMessage<ValueError>(StrEq("set_num_threads: expected 1 to 1024; got " + std::to_string(n))));
  EXPECT_EQ(num_threads(), 2);
  EXPECT_NO_THROW(set_num_threads(1024));
}

TEST_F(Parallel, DividesAnyNumberOfTiles) {
  set_num_threads(3);
  std::atomic<int> begun = 0;
  EXPECT_THROW(parallel_for(std::numeric_limits<std::int64_t>::max(),
                            [&](std::int64_t i) {
                              EXPECT_GE(i, 0);
                              if (++begun == 100) throw 1;
                            }),
               int);
  EXPECT_EQ(calls(-5), std::vector<int>());
  EXPECT_EQ(calls(std::numeric_limits<std::int64_t>::min()), std::vector<int>());
}

// The exit status of a child that runs f, or minus the signal that ended it; a hanging child gets SIGALRM.
int in_child(const auto& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    f();
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

double product() {  // large enough for all threads: 200 x 300 ones by 300 x 250 ones
  return matmul(ones({200, 300}), ones({300, 250})).at({7, 9});
}

#ifdef __SANITIZE_THREAD__
constexpr bool forks = false;  // ThreadSanitizer ends a child that starts threads
#else
constexpr bool forks = true;
#endif

TEST_F(Parallel, AChildOfForkMayExitAndCompute) {
  if (!forks) GTEST_SKIP() << "under ThreadSanitizer";
  set_num_threads(4);
  ASSERT_EQ(product(), 300);
  EXPECT_EQ(in_child([] { std::exit(3); }), 3);
  EXPECT_EQ(in_child([] { std::exit(product() == 300 && calls(50) == std::vector<int>(50, 1) ? 4 : 1); }), 4);
  EXPECT_EQ(in_child([] {
              set_num_threads(2);
              const bool right = product() == 300;
              std::exit(in_child([&] { std::exit(right && product() == 300 ? 5 : 1); }));
            }),
            5)
      << "a grandchild";
  EXPECT_EQ(product(), 300) << "the parent's team works on";
}

TEST_F(Parallel, ForkMeetsThreadsThatCompute) {
  if (!forks) GTEST_SKIP() << "under ThreadSanitizer";
  set_num_threads(3);
  std::atomic<bool> stop = false;
  std::vector<std::jthread> others;
  for (int i = 0; i < 2; ++i)
    others.emplace_back([&] {
      while (!stop) product();
    });
  int right = 0;
  for (int i = 0; i < 20; ++i) right += in_child([] { std::exit(product() == 300 ? 6 : 1); }) == 6;
  stop = true;
  EXPECT_EQ(right, 20);
}

// Constructed before the library's own objects, so its destructor runs after theirs.
struct MultipliesAtExit {
  bool on = false;
  ~MultipliesAtExit() {
    if (!on) return;
    std::fprintf(stderr, "at exit: %g", product());
    std::fflush(stderr);
  }
} multiplies_at_exit;

TEST_F(Parallel, WorksInDestructorsAtExit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto end = [](int before) {
    multiplies_at_exit.on = true;
    set_num_threads(before);
    product();
    set_num_threads(4);
    std::exit(0);
  };
  EXPECT_EXIT(end(4), testing::ExitedWithCode(0), "at exit: 300");
  EXPECT_EXIT(end(1), testing::ExitedWithCode(0), "at exit: 300") << "the team starts at exit";
}

TEST_F(Parallel, ExitMeetsThreadsThatCompute) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto end = [] {
    set_num_threads(4);
    std::atomic<int> begun = 0;
    for (int i = 0; i < 3; ++i)
      std::thread([&] {
        for (;;) product(), ++begun;
      }).detach();
    EXPECT_TRUE(wait_for([&] { return begun > 20; }));
    std::exit(7);
  };
  for (int i = 0; i < 5; ++i) EXPECT_EXIT(end(), testing::ExitedWithCode(7), "");
}

}  // namespace
