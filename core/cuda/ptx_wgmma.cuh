// Raw PTX: the matrix products of warpgroups (wgmma), which compute capability 9.0a has and later ones do
// not. Section "Asynchronous Warpgroup Level Matrix Instructions" of the PTX ISA manual.
#pragma once
#include "core/cuda/ptx.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define BOBBIN_HAS_WGMMA

namespace bobbin::cuda::ptx {

/// Orders accesses to registers before the products that follow.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Makes a group of the products that this warpgroup started since the last group.
__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most the n latest groups of this warpgroup are incomplete.
template<int n>
__device__ __forceinline__ void wgmma_wait_group() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}
/// Shows what this thread wrote to shared memory to the asynchronous proxy, through which wgmma reads.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The accumulators of 64 x 64 and 64 x 128 numbers: their names in the instruction, and the operands.
#define BOBBIN_FOUR(f, j) f(c[j][0]), f(c[j][1]), f(c[j][2]), f(c[j][3])
#define BOBBIN_NAMES64                                                                               \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
#define BOBBIN_NAMES128                                                                              \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "  \
  "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "  \
  "%59, %60, %61, %62, %63}, "
#define BOBBIN_OPERANDS64(f)                                                                     \
  BOBBIN_FOUR(f, 0), BOBBIN_FOUR(f, 1), BOBBIN_FOUR(f, 2), BOBBIN_FOUR(f, 3), BOBBIN_FOUR(f, 4), \
      BOBBIN_FOUR(f, 5), BOBBIN_FOUR(f, 6), BOBBIN_FOUR(f, 7)
#define BOBBIN_OPERANDS128(f)                                                                             \
  BOBBIN_FOUR(f, 0), BOBBIN_FOUR(f, 1), BOBBIN_FOUR(f, 2), BOBBIN_FOUR(f, 3), BOBBIN_FOUR(f, 4),          \
      BOBBIN_FOUR(f, 5), BOBBIN_FOUR(f, 6), BOBBIN_FOUR(f, 7), BOBBIN_FOUR(f, 8), BOBBIN_FOUR(f, 9),      \
      BOBBIN_FOUR(f, 10), BOBBIN_FOUR(f, 11), BOBBIN_FOUR(f, 12), BOBBIN_FOUR(f, 13), BOBBIN_FOUR(f, 14), \
      BOBBIN_FOUR(f, 15)

// Starts wgmma, c = a b, and wgmma_add, c += a b, for a of 64 x 16 elements, in the registers of a warpgroup
// or by its descriptor, b of 16 x `columns` by its descriptor, and f32 c. trans = 1: the rows of b lie in
// memory as rows, else its columns do. The last arguments are the names of the operands after c.
#define BOBBIN_WGMMA(name, add, f, type, columns, in_registers, by_descriptor)                          \
  template<int trans>                                                                                   \
  __device__ __forceinline__ void name##_##type(float(&c)[columns / 8][4], const unsigned(&a)[4],       \
                                                unsigned long long b) {                                 \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " #add                                           \
                 ", 0;\n"                                                                               \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." #type "." #type                \
                 " " BOBBIN_NAMES##columns in_registers ";\n}"                                          \
                 : BOBBIN_OPERANDS##columns(f)                                                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(trans));                     \
  }                                                                                                     \
  template<int trans>                                                                                   \
  __device__ __forceinline__ void name##_##type(float(&c)[columns / 8][4], const unsigned long long& a, \
                                                unsigned long long b) {                                 \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " #add                                           \
                 ", 0;\n"                                                                               \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." #type "." #type                \
                 " " BOBBIN_NAMES##columns by_descriptor ";\n}"                                         \
                 : BOBBIN_OPERANDS##columns(f)                                                          \
                 : "l"(a), "l"(b), "n"(trans));                                                         \
  }
#define BOBBIN_WGMMA_BOTH(type, columns, in_registers, by_descriptor)      \
  BOBBIN_WGMMA(wgmma, 0, "=f", type, columns, in_registers, by_descriptor) \
  BOBBIN_WGMMA(wgmma_add, 1, "+f", type, columns, in_registers, by_descriptor)
BOBBIN_WGMMA_BOTH(f16, 64, "{%32, %33, %34, %35}, %36, add, 1, 1, %37", "%32, %33, add, 1, 1, 0, %34")
BOBBIN_WGMMA_BOTH(bf16, 64, "{%32, %33, %34, %35}, %36, add, 1, 1, %37", "%32, %33, add, 1, 1, 0, %34")
BOBBIN_WGMMA_BOTH(f16, 128, "{%64, %65, %66, %67}, %68, add, 1, 1, %69", "%64, %65, add, 1, 1, 0, %66")
BOBBIN_WGMMA_BOTH(bf16, 128, "{%64, %65, %66, %67}, %68, add, 1, 1, %69", "%64, %65, add, 1, 1, 0, %66")
#undef BOBBIN_WGMMA_BOTH
#undef BOBBIN_WGMMA
#undef BOBBIN_OPERANDS128
#undef BOBBIN_OPERANDS64
#undef BOBBIN_NAMES128
#undef BOBBIN_NAMES64
#undef BOBBIN_FOUR

}  // namespace bobbin::cuda::ptx
#endif
