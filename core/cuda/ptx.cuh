// Raw PTX: all inline assembly of Bobbin's kernels, one function per instruction, named after it. Headings
// are the sections of the PTX ISA manual, chapter "Instructions", that describe the instructions (section
// numbers differ from release to release).
#pragma once
#include <cuda_runtime.h>

namespace bobbin::cuda::ptx {

/// The 32-bit address, in the window of shared memory, that the instructions below take.
__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// No instruction: the compiler must hold x in a register here and cannot know its value afterwards.
__device__ __forceinline__ void opaque(float& x) { asm("" : "+f"(x)); }
template<class T>
__device__ __forceinline__ void opaque(T*& x) {
  asm("" : "+l"(x));
}
__device__ __forceinline__ void opaque(uint4& x) {
  asm volatile("" : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w));
}
/// No instruction: the compiler must compute x, as if it were used.
__device__ __forceinline__ void use(unsigned x) { asm volatile("" ::"r"(x)); }

// Floating Point Instructions; Special Registers

/// 2^x, within 2 units in the last place; subnormal results are 0.
__device__ __forceinline__ float ex2_approx_ftz(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// The larger, and the smaller, of two numbers; NaN if one is NaN.
__device__ __forceinline__ float max_nan(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
__device__ __forceinline__ float min_nan(float a, float b) {
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

/// blockDim.x, read again at each call.
__device__ __forceinline__ int ntid_x() {
  int n;
  asm volatile("mov.u32 %0, %%ntid.x;" : "=r"(n));
  return n;
}

// Data Movement and Conversion Instructions: ld, st

/// Where `there`, overwrites x with 16 bytes of global memory, which the L1 cache does not keep. Volatile:
/// the compiler does not move it above griddepcontrol_wait.
__device__ __forceinline__ void ld_global_no_allocate_v4(uint4& x, const void* p, bool there) {
  asm volatile(
      "{\n.reg .pred there;\nsetp.ne.b32 there, %5, 0;\n"
      "@there ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
      : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w)
      : "l"(p), "r"(static_cast<int>(there)));
}
/// Where `there`, writes 16 bytes to global memory in one access.
__device__ __forceinline__ void st_global_v4(void* p, const uint4& x, bool there) {
  asm volatile(
      "{\n.reg .pred there;\nsetp.ne.b32 there, %5, 0;\n"
      "@there st.global.v4.u32 [%4], {%0, %1, %2, %3};\n}" ::"r"(x.x),
      "r"(x.y), "r"(x.z), "r"(x.w), "l"(p), "r"(static_cast<int>(there)));
}
/// Reads 16 bytes of shared memory in one access.
__device__ __forceinline__ float4 ld_shared_v4(const float* p) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(shared_address(p)));
  return v;
}
/// A load, and a store, that blocks of the whole GPU may race with; they order nothing else.
__device__ __forceinline__ unsigned long long ld_relaxed_gpu(const unsigned long long* p) {
  unsigned long long v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ void st_relaxed_gpu(unsigned long long* p, unsigned long long v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

// Data Movement and Conversion Instructions: Asynchronous copy

/// Starts a copy of 16 bytes from global to shared memory, which bypasses registers and the L1 cache.
__device__ __forceinline__ void cp_async_cg_16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
/// The same, `to_offset` and `from_offset` bytes later.
template<int to_offset, int from_offset>
__device__ __forceinline__ void cp_async_cg_16(unsigned to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0 + %2], [%1 + %3], 16;" ::"r"(to), "l"(from), "n"(to_offset),
               "n"(from_offset)
               : "memory");
}
/// The same where `there`; else writes zeros and reads nothing.
__device__ __forceinline__ void cp_async_cg_16(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
/// The same for 4 bytes, through the L1 cache.
__device__ __forceinline__ void cp_async_ca_4(void* to, const void* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 4 : 0)
               : "memory");
}
/// Makes a group of the copies that this thread started since the last group.
__device__ __forceinline__ void cp_async_commit_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most the n latest groups of this thread are incomplete.
template<int n>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
/// Waits for all copies that this thread started.
__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Warp Level Matrix Instructions: ldmatrix, mma

/// Reads four matrices of 8 x 8 elements of 16 bits from shared memory. Lane 8 i + r passes the address of
/// row r of matrix i; x[i] of lane 4 r + c becomes elements 2 c and 2 c + 1 of row r of matrix i.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}
/// The same of the transposed matrices: x[i] of lane 4 r + c becomes elements r of rows 2 c and 2 c + 1.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&x)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}
/// c += a b for a of 16 x 16, b of 16 x 8 elements and c of 16 x 8 f32, spread over a warp.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                                 unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                                  unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// Two numbers rounded to 16 bits, ties to even; `low` in the lower half.
__device__ __forceinline__ unsigned cvt_rn_f16x2(float low, float high) {
  unsigned x;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}
__device__ __forceinline__ unsigned cvt_rn_bf16x2(float low, float high) {
  unsigned x;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}

// Instructions of compute capability 9.0 and later.
#if __CUDA_ARCH__ >= 900

// Parallel Synchronization and Communication Instructions: griddepcontrol

/// Waits until the kernels that this one depends on are complete and their writes are visible (programmatic
/// dependent launch).
__device__ __forceinline__ void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
/// Lets the dependent kernel start once all blocks of this one have called this or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// Parallel Synchronization and Communication Instructions: barrier.cluster

/// The two halves of a barrier for all threads of a cluster. Arrival is relaxed (it makes no writes visible)
/// or a release; the wait is an acquire. `aligned`: all threads of a warp execute it together.
__device__ __forceinline__ void barrier_cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
}
__device__ __forceinline__ void barrier_cluster_wait_acquire() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
__device__ __forceinline__ void barrier_cluster_arrive_release_aligned() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void barrier_cluster_arrive_relaxed_aligned() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void barrier_cluster_wait_acquire_aligned() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Data Movement and Conversion Instructions: mapa, ld

/// The `shared::cluster` address in block `rank` of the cluster that corresponds to a shared address of this
/// block.
__device__ __forceinline__ unsigned mapa(unsigned shared, int rank) {
  unsigned there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared), "r"(rank));
  return there;
}
/// Reads the shared memory of a block of the cluster.
__device__ __forceinline__ void ld_shared_cluster(float& v, unsigned address) {
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
}
__device__ __forceinline__ void ld_shared_cluster(float4& v, unsigned address) {
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
}

// Parallel Synchronization and Communication Instructions: mbarrier; Data Movement: st.async

/// Makes a barrier object of 8 bytes in shared memory, for one arriving thread, and shows it to the cluster.
__device__ __forceinline__ void mbarrier_init_1(unsigned barrier) {
  asm volatile(
      "mbarrier.init.shared.b64 [%0], 1;\n"
      "fence.mbarrier_init.release.cluster;" ::"r"(barrier)
      : "memory");
}
/// Arrives at the barrier. Its phase ends when st_async has stored `bytes` bytes.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Whether the barrier's first phase has ended; waits a while for it.
__device__ __forceinline__ bool mbarrier_try_wait_phase_0(unsigned barrier) {
  unsigned done;
  asm volatile(
      "{\n.reg .pred done;\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%1], 0;\n"
      "selp.u32 %0, 1, 0, done;\n}"
      : "=r"(done)
      : "r"(barrier)
      : "memory");
  return done;
}
/// Starts a store to a block of the cluster, which counts 4 bytes at that block's barrier when it is done.
__device__ __forceinline__ void st_async(unsigned to, unsigned word, unsigned barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(to),
               "r"(word), "r"(barrier)
               : "memory");
}

#endif

}  // namespace bobbin::cuda::ptx
