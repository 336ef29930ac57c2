// Products and convolutions whose sums are long, on the CPU (long_sum.h).
#include "tests/ops/long_sum.h"

using namespace bobbin::test;

namespace {

const bobbin::Device cpu = bobbin::Device::cpu();
constexpr double relative = 1e-6;

TEST(LongSum, Products) { expect_long_products(cpu, relative, 8192); }
TEST(LongSum, Linear) { expect_long_linear(cpu, relative); }
TEST(LongSum, Convolutions) { expect_long_convolutions(cpu, 4 * relative); }
TEST(LongSum, ConvolutionsOfManyTaps) { expect_convolutions_of_many_taps(cpu, 10 * relative); }
TEST(LongSum, Pooling) { expect_long_pooling(cpu); }
TEST(LongSum, RandomProducts) { expect_long_random_products(cpu, relative, 8192); }

}  // namespace
