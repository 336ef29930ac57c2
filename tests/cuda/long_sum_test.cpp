// Products and convolutions whose sums are long, on a GPU (tests/ops/long_sum.h).
#include "tests/ops/long_sum.h"

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin::test;

namespace {

// A kernel's running sum has some thousand terms of the same size.
constexpr double relative = 3e-5;
using CudaLongSum = SeededCuda<25>;

TEST_F(CudaLongSum, Products) { expect_long_products(gpu, relative, 1 << 16); }
TEST_F(CudaLongSum, Linear) { expect_long_linear(gpu, relative); }
TEST_F(CudaLongSum, Convolutions) { expect_long_convolutions(gpu, relative); }
TEST_F(CudaLongSum, ConvolutionsOfManyTaps) { expect_convolutions_of_many_taps(gpu, 3e-4); }
TEST_F(CudaLongSum, Pooling) { expect_long_pooling(gpu); }
TEST_F(CudaLongSum, RandomProducts) { expect_long_random_products(gpu, 2e-6, 1 << 16); }

}  // namespace
