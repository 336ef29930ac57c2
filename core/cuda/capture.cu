// The first kernel of a captured step, and that of a loop of steps: they store the parameters of a replay in
// the memory from which the step's kernels read them.
#include "core/cuda/capture.h"
#include "core/cuda/runtime.h"

namespace bobbin::cuda {
namespace {

// Sizes of the argument in bytes: most steps have few parameters, and a launch with a larger argument takes
// longer.
constexpr std::size_t few = 256, some = 4 << 10;
constexpr unsigned threads = 128;

template<std::size_t bytes>
struct alignas(16) Bytes {
  char v[bytes];
};

template<std::size_t bytes>
__global__ void store(uint4* to, const __grid_constant__ Bytes<bytes> p) {
  for (unsigned i = threadIdx.x; i < bytes / sizeof(uint4); i += blockDim.x)
    to[i] = reinterpret_cast<const uint4*>(p.v)[i];
}

__global__ void advance(Progress* progress, unsigned packs, uint4* to, cudaGraphConditionalHandle more) {
  const std::int64_t step = progress->next;
  const uint4* from = reinterpret_cast<const uint4*>(progress + 1) + step * packs;
  for (unsigned i = threadIdx.x; i < packs; i += blockDim.x) to[i] = from[i];
  __syncthreads();  // all threads have read progress->next
  if (threadIdx.x != 0) return;
  progress->next = step + 1;
  cudaGraphSetConditional(more, step + 1 < progress->steps);
}

}  // namespace

void store_parameters(Device d, void* to) {
  launch("capture", {d, 1, few / sizeof(uint4)}, store<few>, static_cast<uint4*>(to), Bytes<few>{});
}

cudaKernelNodeParams store_node(std::size_t used, void** args) {
  cudaKernelNodeParams node{};
  node.func = used <= few    ? reinterpret_cast<void*>(store<few>)
              : used <= some ? reinterpret_cast<void*>(store<some>)
                             : reinterpret_cast<void*>(store<Parameters::capacity>);
  node.gridDim = 1;
  node.blockDim = used <= few ? few / sizeof(uint4) : threads;
  node.kernelParams = args;
  return node;
}

cudaGraphNode_t add_advance_node(cudaGraph_t body, Progress* progress, std::size_t bytes, void* to,
                                 cudaGraphConditionalHandle more) {
  unsigned packs = static_cast<unsigned>(bytes / sizeof(uint4));
  void* args[] = {&progress, &packs, &to, &more};
  cudaKernelNodeParams params{};
  params.func = reinterpret_cast<void*>(advance);
  params.gridDim = 1;
  params.blockDim = threads;
  params.kernelParams = args;
  cudaGraphNode_t node;
  check(cudaGraphAddKernelNode(&node, body, nullptr, 0, &params), "capture");
  return node;
}

}  // namespace bobbin::cuda
