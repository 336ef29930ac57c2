// Devices, errors, streams and kernel launches of CUDA.
#include "core/cuda/runtime.h"

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/cuda/capture.h"
#include "core/cuda/fault.h"

namespace bobbin {
namespace cuda {
namespace {

constexpr int max_devices = 64;

// The state of a device that has been used. Never destroyed: static tensors may need it at the end of the
// program.
struct State {
  Properties properties;
  cudaStream_t main = nullptr;
  Fault* fault = nullptr;  // pinned, mapped into the device's address space
};

std::atomic<std::int64_t> waits = 0;
std::atomic<std::uint64_t> launches = 0;
thread_local std::array<cudaStream_t, max_devices> chosen{};  // null: the device's main stream
thread_local int active = -1;                                 // this thread's CUDA device; -1: not known

// Errors after which every later CUDA call of the process fails.
bool is_sticky(cudaError_t e) {
  switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDevicesUnavailable:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

struct Availability {
  int count = 0;
  std::string why;
};

std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

Availability look() {
  Availability a;
  const cudaError_t e = cudaGetDeviceCount(&a.count);
  if (e == cudaSuccess && a.count > 0) return a;
  cudaGetLastError();
  a.count = 0;
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (driver == 0)
    a.why = "no NVIDIA driver was found";
  else if (e == cudaErrorInsufficientDriver)
    a.why = "the NVIDIA driver supports CUDA " + version(driver) + ", and bobbin was built with CUDA " +
            version(CUDART_VERSION) + "; update the driver";
  else if (visible)
    a.why = std::string("no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES is '") + visible + "')";
  else
    a.why = std::string("no NVIDIA GPU can be used: ") + cudaGetErrorString(e);
  return a;
}

const Availability& availability() {
  static const Availability a = look();
  return a;
}

State* make_state(Device d) {
  require(d);
  const DeviceGuard use(d);
  auto s = std::make_unique<State>();
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, d.index), "cuda");
  s->properties = {p.name,
                   p.major,
                   p.minor,
                   p.multiProcessorCount,
                   static_cast<std::int64_t>(p.sharedMemPerBlockOptin),
                   static_cast<std::int64_t>(p.sharedMemPerMultiprocessor)};
  void* fault = nullptr;
  check(cudaHostAlloc(&fault, sizeof(Fault), cudaHostAllocMapped | cudaHostAllocPortable), "cuda");
  s->fault = new (fault) Fault;
  check(cudaStreamCreateWithFlags(&s->main, cudaStreamNonBlocking), "cuda");
  return s.release();
}

State& state(Device d) {
  static std::array<std::atomic<State*>, max_devices> states{};
  auto& place = states[static_cast<std::size_t>(d.index)];
  if (State* s = place.load(std::memory_order_acquire)) return *s;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (!place) place = make_state(d);
  return *place;
}

// Throws the error that a kernel reported, and clears the report.
void surface(State& s) {
  volatile Fault* seen = s.fault;
  if (!seen->set || capturing()) return;
  check(cudaDeviceSynchronize(), "cuda");  // the kernel may still be writing the report
  const Fault f = *s.fault;
  seen->set = 0;
  fail<IndexError>(f.op, ": ", f.noun, " ", f.value, " at flat position ", f.position, " is outside [0,",
                   f.size, ")");
}

// A kernel that uses more than 48 KiB of shared memory, static and dynamic together, must opt in, once per
// device.
void opt_in(std::string_view op, const void* kernel, int device, std::size_t shared) {
  static std::mutex mutex;
  // Never destroyed, as other threads may launch kernels while the program ends.
  static auto& granted = *new std::array<std::unordered_map<const void*, std::size_t>, max_devices>;
  std::lock_guard lock(mutex);
  std::size_t& now = granted[static_cast<std::size_t>(device)][kernel];
  if (now >= shared) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
        op);
  now = shared;
}

}  // namespace

void check(cudaError_t e, std::string_view what) {
  if (e == cudaSuccess) return;
  cudaGetLastError();  // clears the error, which the next check would otherwise report again
  if (e == cudaErrorMemoryAllocation) fail<OutOfMemory>(what, ": ", cudaGetErrorString(e));
  if (is_sticky(e))
    fail<DeviceLost>(what, ": ", cudaGetErrorString(e), "; this process can no longer use the GPU");
  if (e == cudaErrorNoKernelImageForDevice)
    fail<CudaError>(what, ": bobbin was built for other GPUs than this one; set CMAKE_CUDA_ARCHITECTURES");
  fail<CudaError>(what, ": ", cudaGetErrorString(e));
}

const Properties& properties(Device d) { return state(d).properties; }

DeviceGuard::DeviceGuard(Device d) : before_(active) {
  if (active == d.index) return;
  check(cudaSetDevice(d.index), "cuda");
  active = d.index;
}
DeviceGuard::~DeviceGuard() {
  if (before_ < 0 || before_ == active) return;
  cudaSetDevice(before_);
  active = before_;
}

std::optional<Device>& last_used() {
  thread_local std::optional<Device> d;
  return d;
}

cudaStream_t stream(Device d) {
  if (const StepGraph* g = StepGraph::current(); g && g->device() != d)
    fail<DeviceError>("capture: the step was captured on ", g->device(), ", and now works on ", d);
  last_used() = d;
  const cudaStream_t s = chosen[static_cast<std::size_t>(d.index)];
  return s ? s : state(d).main;
}

cudaStream_t exchange_stream(Device d, cudaStream_t s) {
  return std::exchange(chosen[static_cast<std::size_t>(d.index)], s);
}

void wait(Device d, std::string_view what) {
  if (capturing())
    fail<Error>(what,
                ": the host cannot wait for the GPU inside a captured step; read results after the step");
  State& s = state(d);
  const DeviceGuard use(d);
  ++waits;
  check(cudaStreamSynchronize(stream(d)), what);
  surface(s);
}

void detail::launch(std::string_view op, const Launch& l, const void* kernel, void** args) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  State& s = state(l.device);
  const DeviceGuard use(l.device);
  surface(s);
  if (l.shared > 32 * 1024) opt_in(op, kernel, l.device.index, l.shared);
  cudaLaunchAttribute attributes[3];
  cudaLaunchConfig_t config{l.grid, l.block, l.shared, stream(l.device), attributes, 0};
  if (l.cluster > 1) {
    auto& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim = {static_cast<unsigned>(l.cluster), 1, 1};
  }
  if (l.cooperative) {
    auto& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeCooperative;
    a.val.cooperative = 1;
  }
  if (l.early && s.properties.major >= 9) {
    auto& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  const cudaError_t e = cudaLaunchKernelExC(&config, kernel, args);
  if (e == cudaErrorInvalidValue || e == cudaErrorInvalidConfiguration ||
      e == cudaErrorLaunchOutOfResources) {
    cudaGetLastError();
    fail<CudaError>(op, ": no launch of ", l.grid.x, "x", l.grid.y, " blocks of ", l.block.x, "x", l.block.y,
                    " threads with ", l.shared, " bytes of shared memory, in clusters of ", l.cluster, ": ",
                    cudaGetErrorString(e));
  }
  check(e, op);
}

FaultReporter fault_reporter(Device d, const char* op, const char* noun, std::int64_t size) {
  return {state(d).fault, ++launches, op, noun, size};
}

}  // namespace cuda

bool cuda_available(std::string* why) {
  const auto& a = cuda::availability();
  if (why && a.count == 0) *why = a.why;
  return a.count > 0;
}

int device_count() { return std::min(cuda::availability().count, cuda::max_devices); }

void synchronize(Device d) {
  if (d.is_cpu()) return;
  require(d);
  cuda::wait(d, "synchronize");
}

std::int64_t synchronizations() { return cuda::waits; }

}  // namespace bobbin
