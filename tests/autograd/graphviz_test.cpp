// The tape as a graph and as text.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>

using namespace bobbin;
using testing::HasSubstr;

namespace {

TEST(Graphviz, ShowsOperationsLeavesAndWhatIsSaved) {
  const Tensor x = randn({2, 3}).set_requires_grad();
  const std::string dot = to_dot(sum(softmax(x)));
  EXPECT_THAT(dot, testing::StartsWith("digraph tape {"));
  EXPECT_THAT(dot, HasSubstr("softmax\\nf32[2,3]\\nsaves 24 bytes"));
  EXPECT_THAT(dot, HasSubstr("sum\\nf32[]\\nsaves 0 bytes"));
  EXPECT_THAT(dot, HasSubstr("leaf\\nf32[2,3]"));
  EXPECT_THAT(dot, HasSubstr("n1 -> n0;"));
  EXPECT_THAT(dot, HasSubstr("n2 -> n1;"));
}

TEST(Graphviz, DrawsASharedTensorOnce) {
  const Tensor x = randn({2}).set_requires_grad();
  const std::string dot = to_dot(x * x);
  EXPECT_EQ(dot.find("leaf"), dot.rfind("leaf"));
}

TEST(Graphviz, SummarisesTheTapeInLines) {
  const Tensor x = randn({2, 3}).set_requires_grad();
  const Tensor y = exp(x);
  EXPECT_EQ(tape_summary(sum(y * y)),
            "%0 sum                  f32[]               saves 0 bytes, from %1\n"
            "%1 mul                  f32[2,3]            saves 48 bytes, from %2 %2\n"
            "%2 exp                  f32[2,3]            saves 24 bytes, from %3\n"
            "%3 leaf                 f32[2,3]            \n"
            "3 operations on 1 leaves keep 24 bytes for their derivatives\n");
}

}  // namespace
