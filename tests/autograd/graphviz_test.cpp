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

}  // namespace
