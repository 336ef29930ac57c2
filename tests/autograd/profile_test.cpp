// The profiler's times and bytes, and MetricsLog.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace bobbin;
using testing::HasSubstr;

namespace {

std::string read(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

std::filesystem::path fresh(const std::string& name) {
  const auto path = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove(path);
  return path;
}

TEST(Profiler, SeesOperationsDerivativesAndSpans) {
  const Tensor x = randn({64, 32}), w = randn({8, 32}).set_requires_grad();
  Profiler profiler;
  {
    const ProfileSpan step("step");
    backward(sum(linear(x, w, {}, Activation::relu)));
  }
  const auto events = profiler.events();
  const auto find = [&](std::string_view name) {
    return *std::ranges::find(events, name, &ProfileEvent::name);
  };
  EXPECT_EQ(find("linear").inputs, "f32[64,32], f32[8,32]");
  EXPECT_EQ(find("linear").bytes, 64 * 8 * 4);
  EXPECT_EQ(find("linear").depth, 1);
  EXPECT_EQ(find("step").depth, 0);
  EXPECT_GE(find("step").host_us, find("linear").host_us + find("linear's derivative").host_us);
  EXPECT_LT(find("step").self_us, find("step").host_us);
  EXPECT_EQ(find("relu_backward").depth, 2) << "inside linear's derivative";
  EXPECT_THAT(profiler.table(), HasSubstr("linear's derivative"));
}

TEST(Profiler, OutlivesErrorsAndWritesATrace) {
  Profiler profiler;
  EXPECT_THROW(matmul(zeros({1, 2}), zeros({3, 1})), ShapeError);
  relu(zeros({2}));
  EXPECT_EQ(profiler.events().back().name, "relu");
  EXPECT_EQ(profiler.events().back().depth, 0);
  const auto path = fresh("trace.json");
  profiler.write_trace(path);
  const std::string text = read(path);
  EXPECT_THAT(text, HasSubstr("\"traceEvents\":["));
  EXPECT_THAT(text, HasSubstr("\"name\":\"relu\""));
  EXPECT_THROW(profiler.write_trace("no/such/directory/trace.json"), IoError);
}

TEST(MetricsLog, WritesCsvAndJsonLines) {
  const auto csv = fresh("run.csv"), jsonl = fresh("run.jsonl");
  MetricsLog table(csv), lines(jsonl);
  for (MetricsLog* log : {&table, &lines}) {
    log->add(1, {{"loss", .5}, {"accuracy", .75}});
    log->add(2, {{"loss", .25}, {"accuracy", 1}});
  }
  EXPECT_EQ(read(csv), "step,loss,accuracy\n1,0.5,0.75\n2,0.25,1\n");
  EXPECT_EQ(read(jsonl),
            "{\"step\":1,\"loss\":0.5,\"accuracy\":0.75}\n{\"step\":2,\"loss\":0.25,\"accuracy\":1.0}\n");
  EXPECT_THROW(table.add(3, {{"error", 1}, {"accuracy", 1}}), ValueError);
  EXPECT_THROW(MetricsLog("no/such/directory/run.csv"), IoError);
}

}  // namespace
