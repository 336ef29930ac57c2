// The state of the library after a kernel faults. A separate program, because the process cannot use the GPU
// afterwards.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include "core/cuda/runtime.h"

using namespace bobbin;

namespace {

__global__ void fault(int* nowhere) { *nowhere = 1; }

TEST(DeviceLost, SurfacesWhereTheHostWaitsAndTheCpuGoesOn) {
  std::string why;
  if (!cuda_available(&why)) GTEST_SKIP() << why;
  const Tensor x = ones({1000}, DType::f32, Device::cuda());
  synchronize(x.device());
  cuda::launch("fault", {.device = x.device(), .grid = 1, .block = 1}, fault, reinterpret_cast<int*>(16));
  try {
    synchronize(x.device());
    FAIL() << "the fault went unnoticed";
  } catch (const DeviceLost& e) {
    EXPECT_NE(std::string(e.what()).find("this process can no longer use the GPU"), std::string::npos)
        << e.what();
  }
  EXPECT_THROW(sum(x).item(), CudaError);
  EXPECT_THROW(to(x, Device::cpu()), CudaError);
  EXPECT_EQ(sum(ones({1000})).item(), 1000);
}

}  // namespace
