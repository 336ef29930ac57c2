// AtomicFile: modes, links, what is no regular file, and what killed writers leave.
#include "core/atomic_file.h"

#include <bobbin/error.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <sstream>

#include "core/input_file.h"
#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::HasSubstr;

namespace {

struct AtomicFiles : tests::TemporaryDirectory {
  static void save(const fs::path& path, std::string_view text) {
    AtomicFile file("save", path);
    file.write(text.data(), text.size());
    file.commit();
  }
  static std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static mode_t mode(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_mode & 07777;
  }
  std::set<std::string> names() const {
    std::set<std::string> out;
    for (auto& entry : fs::directory_iterator(dir)) out.insert(entry.path().filename());
    return out;
  }
  // A writer that is killed in the middle.
  static void killed_save(const fs::path& path) {
    const pid_t child = ::fork();
    if (child == 0) {
      AtomicFile file("save", path);
      const std::string text(100'000, 'x');
      file.write(text.data(), text.size());
      ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
  }
};

TEST_F(AtomicFiles, AFileThatIsReplacedKeepsItsMode) {
  for (const mode_t m : {0600, 0640, 0644, 0444, 0755, 0666}) {
    written("old");
    ASSERT_EQ(::chmod(path.c_str(), m), 0);
    save(path, "new");
    EXPECT_EQ(mode(path), m);
    EXPECT_EQ(read(path), "new");
  }
  const mode_t mask = ::umask(027);
  save(dir / "fresh", "new");
  ::umask(mask);
  EXPECT_EQ(mode(dir / "fresh"), 0640U);
}

TEST_F(AtomicFiles, ASymbolicLinkIsFollowedAndStays) {
  fs::create_directory(dir / "real");
  fs::create_symlink("real/target", path);  // relative, to nothing yet
  fs::create_symlink(path, dir / "second");
  for (const char* text : {"first", "again"}) {
    save(dir / "second", text);
    EXPECT_TRUE(fs::is_symlink(path) && fs::is_symlink(dir / "second"));
    EXPECT_EQ(read(dir / "real/target"), text);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "real"), {}), 1);
  fs::create_symlink("loop", dir / "loop");
  EXPECT_THROW(save(dir / "loop", "x"), IoError);
}

TEST_F(AtomicFiles, WhatIsNoRegularFileIsWrittenDirectly) {
  save("/dev/null", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THROW(save(dir, "x"), IoError);

  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THROW(save(path, "nobody reads"), IoError);  // and does not wait for a reader
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  save(path, "through a FIFO");
  char text[64];
  EXPECT_EQ(::read(reader, text, sizeof text), 14);
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(path));

  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  for (const char* place : {"/dev/fd/", "/proc/self/fd/"}) {
    save(place + std::to_string(ends[1]), "through a pipe");
    EXPECT_EQ(::read(ends[0], text, sizeof text), 14) << place;
  }
  ::close(ends[0]), ::close(ends[1]);
}

// What a program has printed before into the same file stays.
TEST_F(AtomicFiles, ADescriptorOfAFileContinuesIt) {
  const int out = ::open((dir / "out").c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(::write(out, "before ", 7), 7);
  save("/dev/fd/" + std::to_string(out), "saved ");
  ASSERT_EQ(::write(out, "after", 5), 5);
  ::close(out);
  EXPECT_EQ(read(dir / "out"), "before saved after");
}

TEST_F(AtomicFiles, TheNextSaveRemovesWhatKilledWritersLeft) {
  written("old");
  killed_save(path), killed_save(path), killed_save(dir / "other");
  EXPECT_EQ(names().size(), 3U) << "the second removed what the first had left";
  EXPECT_EQ(read(path), "old");
  save(path, "new");
  EXPECT_EQ(read(path), "new");
  EXPECT_EQ(names().size(), 2U) << "the other file's leftover is not this save's";
  save(dir / "other", "new");
  EXPECT_EQ(names(), (std::set<std::string>{"file", "other"}));
}

TEST_F(AtomicFiles, AWriterThatLivesKeepsItsFile) {
  AtomicFile slow("save", path);
  slow.write("slow", 4);
  save(path, "quick");
  EXPECT_EQ(read(path), "quick");
  EXPECT_EQ(names().size(), 2U);
  slow.commit();
  EXPECT_EQ(read(path), "slow");
  { const AtomicFile abandoned("save", path); }
  EXPECT_EQ(names().size(), 1U);
}

TEST_F(AtomicFiles, ANameOfTheGreatestLengthHasATemporaryToo) {
  const fs::path longest = dir / std::string(255, 'n');
  save(longest, "x");
  EXPECT_EQ(read(longest), "x");
  EXPECT_THROW(save(dir / std::string(256, 'n'), "x"), IoError);
}

TEST_F(AtomicFiles, InputIsARegularFileAsItWasOpened) {
  written("opened");
  InputFile in("load", path);
  save(path, "replaced by a longer one");
  char text[64];
  EXPECT_EQ(std::string_view(text, in.read(text, sizeof text)), "opened");
  EXPECT_EQ(in.read(text, sizeof text), 0U);
  EXPECT_EQ(std::string_view(text, in.read_at(4, text, sizeof text)), "ed");
  std::ofstream(path, std::ios::app) << "grown";
  EXPECT_EQ(in.read_at(6, text, sizeof text), 0U);
  for (const fs::path& other : {fs::path("/dev/zero"), fs::path("/dev/null"), dir}) {
    try {
      InputFile("load", other);
      ADD_FAILURE() << other;
    } catch (const IoError& e) {
      EXPECT_THAT(e.what(), HasSubstr("load: " + other.string() + " is not a regular file"));
    }
  }
}

}  // namespace
