// Measures the device time of work on a stream: captures it once into a CUDA graph, and replays that between
// events.
#pragma once
#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

inline void check(cudaError_t e) {
  if (e != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(e));
}

inline double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v[v.size() / 2];
}

class Replay {
 public:
  template<class F>
  Replay(cudaStream_t s, F&& enqueue) : stream_(s) {
    cudaGraph_t graph;
    check(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));  // the allocator may ask the system
    enqueue();
    check(cudaStreamEndCapture(s, &graph));
    check(cudaGraphInstantiate(&graph_, graph, 0));
    check(cudaGraphDestroy(graph));
    for (auto* e : {&begin_, &end_}) check(cudaEventCreate(e));
  }
  Replay(Replay&& r) noexcept
      : stream_(r.stream_), graph_(std::exchange(r.graph_, nullptr)), begin_(r.begin_), end_(r.end_) {}
  ~Replay() {
    if (!graph_) return;
    cudaGraphExecDestroy(graph_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  /// Microseconds of one replay; waits for it.
  double operator()() {
    check(cudaEventRecord(begin_, stream_));
    check(cudaGraphLaunch(graph_, stream_));
    check(cudaEventRecord(end_, stream_));
    check(cudaEventSynchronize(end_));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_, end_));
    return 1e3 * ms;
  }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t graph_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace bench
