// Every call to the system that a save makes fails once, for the n-th of each kind and every n: the old file
// stays whole, and no temporary file stays. Likewise every allocation of a save and of a load. This program's
// own open, write, fsync, ... take the place of the C library's; the library has no code for it.
#include <bobbin/bobbin.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <functional>
#include <new>
#include <sstream>

#include "tests/autograd/temporary_directory.h"

namespace {

enum class Call { none, open, write, fsync, close, rename, fcntl, malloc };
// Of this thread: which call fails, how many of them pass before, and whether it came to that.
thread_local Call failing = Call::none;
thread_local int passes = 0;
thread_local bool failed = false;
thread_local bool short_writes = false;

bool fails(Call call) {
  if (failing != call || passes-- > 0) return false;
  failing = Call::none;
  failed = true;
  return true;
}

int umask_calls = 0;

}  // namespace

extern "C" {
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (fails(Call::open)) return errno = EMFILE, -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
ssize_t write(int fd, const void* data, size_t n) {
  if (fails(Call::write)) return errno = ENOSPC, -1;
  if (short_writes && n > 1) {
    static thread_local bool interrupted = false;
    if ((interrupted = !interrupted)) return errno = EINTR, -1;
    n = (n + 1) / 2;
  }
  return ::syscall(SYS_write, fd, data, n);
}
int fsync(int fd) {
  if (fails(Call::fsync)) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
int close(int fd) {
  const auto result = static_cast<int>(::syscall(SYS_close, fd));
  if (fails(Call::close)) return errno = EIO, -1;
  return result;
}
int rename(const char* from, const char* to) noexcept {
  if (fails(Call::rename)) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_rename, from, to));
}
int fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  const long argument = va_arg(more, long);
  va_end(more);
  if (fails(Call::fcntl)) return errno = EMFILE, -1;
  return static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}
mode_t umask(mode_t mask) noexcept {
  ++umask_calls;
  return static_cast<mode_t>(::syscall(SYS_umask, mask));
}
#ifndef __SANITIZE_ADDRESS__
void* __libc_malloc(size_t);
void* malloc(size_t n) { return fails(Call::malloc) ? (errno = ENOMEM, nullptr) : __libc_malloc(n); }
#endif
}

using namespace bobbin;
namespace fs = std::filesystem;

namespace {

// A model and the ways to save it.
struct FileFaults : tests::TemporaryDirectory {
  StateDict state{{"weight", arange(0, 40'000, 1, DType::f32)}, {"bias", ones({3})}};
  nn::Linear layer{3, 2};
  optim::Adam adam{nn::parameters(layer)};
  plot::Image picture{32, 32};
  std::vector<std::pair<std::string, std::function<void()>>> saves() {
    return {{"npy", [&] { save_npy(path, state.at("weight")); }},
            {"npz", [&] { save_npz(path, state); }},
            {"safetensors",
             [&] {
               save_safetensors(path, {state, {{"k", "v"}}});
             }},
            {"checkpoint", [&] { save_checkpoint(path, nn::state_dict(layer), adam); }},
            {"png", [&] { save_png(picture, path); }},
            {"onnx", [&] {
               save_onnx(path, layer, zeros({1, 3}));
             }}};
  }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  // Runs f with the n-th call failing. Returns whether there was an n-th call; `thrown` is the message of the
  // exception.
  bool run(Call call, int n, const std::function<void()>& f, std::string& thrown) {
    thrown.clear();
    failed = false;
    passes = n;
    failing = call;
    try {
      f();
      failing = Call::none;
    } catch (const std::exception& e) {
      failing = Call::none;
      thrown = e.what();
      if (!dynamic_cast<const Error*>(&e) && !dynamic_cast<const std::bad_alloc*>(&e))
        ADD_FAILURE() << "an exception of another library: " << e.what();
      if (thrown.empty()) thrown = "bad_alloc";
    }
    return failed;
  }
  void expect_one_file() const {
    EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 1) << "a temporary file was left";
  }
};

TEST_F(FileFaults, ASaveThatFailsLeavesTheOldFile) {
  int injected = 0;
  for (auto& [format, save] : saves()) {
    save();
    const std::string complete = read();
    for (const Call call : {Call::open, Call::write, Call::fsync, Call::close, Call::rename, Call::fcntl}) {
      std::string thrown;
      int n = 0;
      for (; n < 1000; ++n) {
        written("old");
        const bool was = run(call, n, save, thrown);
        SCOPED_TRACE(format + ", call " + std::to_string(static_cast<int>(call)) + ", number " +
                     std::to_string(n));
        expect_one_file();
        if (!was) break;
        ++injected;
        // A directory that cannot be flushed is reported too; the file is in place by then.
        const bool replaced = thrown.find("is written, but") != std::string::npos;
        const std::string now = read();
        EXPECT_TRUE(now == (thrown.empty() || replaced ? complete : "old") ||
                    (format == "npz" && now.size() > 100))
            << now.size() << " bytes; " << thrown;
        EXPECT_FALSE(thrown.empty() && (call == Call::write || call == Call::rename));
      }
      EXPECT_TRUE(n > 0 || call == Call::fcntl) << format << ": none of these calls was made";
    }
  }
  EXPECT_GT(injected, 6 * 7);
  std::printf("%d calls failed\n", injected);
}

TEST_F(FileFaults, AFlushOfTheDirectoryThatFailsIsReported) {
  std::string thrown;
  ASSERT_TRUE(run(
      Call::fsync, 1, [&] { save_npy(path, ones({1})); }, thrown));
  EXPECT_NE(thrown.find("its directory cannot be flushed to disk"), std::string::npos) << thrown;
  EXPECT_EQ(load_npy(path).item(), 1);
}

TEST_F(FileFaults, ShortAndInterruptedWritesAreContinued) {
  for (auto& [format, save] : saves()) {
    save();
    const std::string complete = read();
    short_writes = true;
    save();
    short_writes = false;
    EXPECT_TRUE(format == "npz" || read() == complete) << format;  // an archive holds the time
  }
  EXPECT_EQ(load_npz((saves()[1].second(), path)).at("bias").at({2}), 1);
}

TEST_F(FileFaults, SavingLeavesTheUmaskAlone) {
  umask_calls = 0;
  for (auto& [format, save] : saves()) save();
  EXPECT_EQ(umask_calls, 0);
}

#ifndef __SANITIZE_ADDRESS__
TEST_F(FileFaults, AnAllocationThatFailsIsAnException) {
  auto calls = saves();
  calls.pop_back();  // tracing a model is the business of other tests
  const auto at = [&](const char* name) { return dir / name; };
  int injected = 0;
  std::string thrown;
  for (auto& [format, save] : calls) {
    save();
    for (int n = 0; n < 100'000; ++n) {
      written("old");
      const bool was = run(Call::malloc, n, save, thrown);
      SCOPED_TRACE(format + ", allocation " + std::to_string(n));
      expect_one_file();
      if (!was) break;
      ++injected;
      EXPECT_TRUE(thrown.empty() || read() == "old") << thrown;
      if (HasFailure()) return;
    }
  }
  fs::create_directories(at("images/a"));
  std::ofstream(at("images/a/1.ppm")) << "P3 2 2 9 1 2 3 4 5 6 7 8 9 0 0 0";
  save_png(plot::Image(8, 8), at("images/a/2.png"));
  save_npy(at("x.npy"), ones({3}));
  save_npz(at("x.npz"), state);
  save_safetensors(at("x.safetensors"), {state, {{"k", "v"}}});
  std::ofstream(at("x.csv")) << "a,b\n1,2\n3,4\n";
  std::ofstream(at("x.idx")) << std::string("\0\0\x08\x01\0\0\0\x02xy", 10);
  const std::vector<std::pair<const char*, std::function<double()>>> loads{
      {"npy", [&] { return sum(load_npy(at("x.npy"))).item(); }},
      {"npz", [&] { return load_npz(at("x.npz")).at("bias").at({2}); }},
      {"safetensors", [&] { return load_safetensors(at("x.safetensors")).at("bias").at({2}); }},
      {"map", [&] { return map_safetensors(at("x.safetensors")).at("bias").at({2}); }},
      {"csv",
       [&] {
         return read_csv(at("x.csv")).values.at({1, 1});
       }},
      {"idx", [&] { return static_cast<double>(read_idx(at("x.idx")).bytes.at(1)); }},
      {"images", [&] { return ImageFolder(at("images"), 4, 4).batch(arange(2))[1].at({1}); }},
      {"log", [&] {
         return MetricsLog(at("run.csv"), MetricsLog::Mode::append).add(1, {{"a", 1}}), 1.;
       }}};
  for (auto& [format, load] : loads) {
    const double right = load();
    for (int n = 0; n < 100'000; ++n) {
      double got = 0;
      const bool was = run(
          Call::malloc, n, [&] { got = load(); }, thrown);
      SCOPED_TRACE(std::string("load ") + format + ", allocation " + std::to_string(n));
      EXPECT_TRUE(!thrown.empty() || got == right) << got;
      if (!was) break;
      ++injected;
      if (HasFailure()) return;
    }
  }
  std::printf("%d allocations failed\n", injected);
}
#endif

}  // namespace
