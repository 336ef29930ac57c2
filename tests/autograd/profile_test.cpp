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

std::vector<std::string> names(const Profiler& p) {
  std::vector<std::string> all;
  for (auto& e : p.events()) all.push_back(e.name);
  return all;
}

TEST(Profiler, MayEndUnderAnOpenSpan) {
  auto profiler = std::make_unique<Profiler>();
  {
    const ProfileSpan span("open");
    profiler.reset();
    relu(zeros({2}));
    profiler = std::make_unique<Profiler>();
    exp(zeros({2}));
  }
  EXPECT_THAT(names(*profiler), testing::ElementsAre("exp")) << "the span was of the first one";
}

TEST(Profiler, MayEndInAnyOrder) {
  auto first = std::make_unique<Profiler>(), second = std::make_unique<Profiler>(),
       third = std::make_unique<Profiler>();
  exp(zeros({2}));
  second.reset();
  relu(zeros({2}));
  EXPECT_THAT(names(*first), testing::ElementsAre("exp", "relu"));
  first.reset();
  sin(zeros({2}));
  { const ProfileSpan span("span"); }
  EXPECT_THAT(names(*third), testing::ElementsAre("exp", "relu", "sin", "span"));
  third.reset();
  sin(zeros({2}));
}

TEST(Profiler, SpansMayEndInAnyOrder) {
  const Profiler profiler;
  auto a = std::make_unique<ProfileSpan>("a"), b = std::make_unique<ProfileSpan>("b");
  exp(zeros({2}));
  a.reset();
  relu(zeros({2}));
  b.reset();
  EXPECT_THAT(names(profiler), testing::ElementsAre("exp", "a", "relu", "b"));
  EXPECT_GE(profiler.events()[1].self_us, 0);
}

TEST(Profiler, WritesNamesThatAreNotUtf8) {
  const Profiler profiler;
  { const ProfileSpan span("caf\xe9 \xf0\x9f\x98\x80 \xed\xa0"); }
  const auto path = fresh("names.json");
  profiler.write_trace(path);
  EXPECT_THAT(read(path), HasSubstr("\"name\":\"caf\xef\xbf\xbd \xf0\x9f\x98\x80 \xef\xbf\xbd"));
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
