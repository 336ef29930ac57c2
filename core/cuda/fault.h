// Reports of kernels about an index that is out of range. The kernel writes a report and skips the access;
// the host throws IndexError at the next launch or wait that finds the report.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cstdint>

namespace bobbin::cuda {

/// A report, in host memory that the device can write. Of several reports, the one of the earliest launch
/// and, within it, of the lowest position is kept, so that the message is the same in each run.
struct Fault {
  int lock = 0;
  int set = 0;
  std::uint64_t launch = 0;
  std::int64_t position = 0, value = 0, size = 0;
  const char *op = nullptr, *noun = nullptr;
};

/// A kernel argument. report(position, value) makes the host throw "op: noun VALUE at flat position POSITION
/// is outside [0,size)".
struct FaultReporter {
  Fault* fault;
  std::uint64_t launch;
  const char *op, *noun;
  std::int64_t size;

#ifdef __CUDACC__
  __device__ void operator()(std::int64_t position, std::int64_t value) const {
    volatile Fault* f = fault;
    while (atomicCAS(&fault->lock, 0, 1) != 0) {
    }
    __threadfence_system();
    if (!f->set || launch < f->launch || (launch == f->launch && position < f->position)) {
      f->launch = launch;
      f->position = position;
      f->value = value;
      f->size = size;
      f->op = op;
      f->noun = noun;
      __threadfence_system();
      f->set = 1;
    }
    __threadfence_system();
    atomicExch(&fault->lock, 0);
  }
#endif
};

/// The argument for one launch on d. `op` and `noun` must be string literals.
FaultReporter fault_reporter(Device d, const char* op, const char* noun, std::int64_t size);

}  // namespace bobbin::cuda
