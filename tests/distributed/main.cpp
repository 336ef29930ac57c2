// The tests of a group: every rank runs the same tests in the same order. Rank 0 prints.
#include <bobbin/distributed.h>
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const bobbin::dist::Group group = bobbin::dist::init({.timeout = 20});
  if (group.rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    struct FailuresAlone final : testing::EmptyTestEventListener {
      int rank;
      void OnTestPartResult(const testing::TestPartResult& r) override {
        if (r.failed())
          std::printf("rank %d: %s:%d: %s\n", rank, r.file_name(), r.line_number(), r.summary());
      }
    }* quiet = new FailuresAlone;
    quiet->rank = group.rank();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(quiet);
  }
  return RUN_ALL_TESTS();
}
