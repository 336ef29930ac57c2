// Matrix products through cuBLASLt, and the choice between it and small_product.cu.
#include "ops/matmul/blas.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

#include "core/cuda/capture.h"
#include "core/cuda/runtime.h"
#include "ops/matmul/padded_product.h"

namespace bobbin::cuda {
namespace {

void check(cublasStatus_t s, std::string_view op) {
  if (s == CUBLAS_STATUS_SUCCESS) return;
  cuda::check(cudaPeekAtLastError(), op);  // a CUDA error, if there is one, says more
  if (s == CUBLAS_STATUS_ALLOC_FAILED) fail<OutOfMemory>(op, ": cuBLAS: ", cublasLtGetStatusString(s));
  fail<CudaError>(op, ": cuBLAS: ", cublasLtGetStatusString(s));
}

cublasLtHandle_t handle(Device d, std::string_view op) {
  static std::mutex mutex;
  static std::array<cublasLtHandle_t, 64> handles{};  // never destroyed, as static tensors may outlive all
  std::lock_guard lock(mutex);
  cublasLtHandle_t& h = handles[static_cast<std::size_t>(d.index)];
  if (!h) check(cublasLtCreate(&h), op);
  return h;
}

cudaDataType_t type_of(DType d) {
  switch (d) {
    case DType::f64:
      return CUDA_R_64F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

cublasLtEpilogue_t epilogue_of(const Gemm& p) {
  return p.bias ? CUBLASLT_EPILOGUE_BIAS : p.row_sums ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_DEFAULT;
}
const void* vector_of(const Gemm& p) { return p.bias ? p.bias : p.row_sums; }

// The largest power of two, up to 256, that divides an address and the step in bytes.
unsigned alignment(const void* p, std::int64_t step_bytes = 0) {
  const auto bits = reinterpret_cast<std::uintptr_t>(p) | static_cast<std::uintptr_t>(step_bytes) | 256;
  return 1u << std::countr_zero(bits);
}

struct Alignments {
  unsigned a, b, y, vector;
  explicit Alignments(const Gemm& p)
      : a(alignment(p.a.data, p.a.next * size_of(p.dtype))),
        b(alignment(p.b.data, p.b.next * size_of(p.dtype))),
        y(alignment(p.y, p.y_next * size_of(p.y_dtype))),
        vector(alignment(vector_of(p))) {}
};

// All that the choice of a kernel depends on.
struct Key {
  std::array<std::int64_t, 12> v;

  Key(Device d, const Gemm& p) {
    const Alignments to(p);
    std::int64_t kind = d.index;
    for (const auto part : {static_cast<unsigned>(p.dtype), static_cast<unsigned>(p.y_dtype),
                            static_cast<unsigned>(epilogue_of(p))})

      kind = kind << 12 | part;
    for (const bool flag : {p.tf32, p.a.transposed, p.b.transposed}) kind = kind << 1 | int{flag};
    std::int64_t aligned = 0;
    for (const unsigned bytes : {to.a, to.b, to.y, to.vector}) aligned = aligned << 12 | bytes;
    v = {p.rows,   p.cols,   p.inner,  p.a.stride, p.b.stride, p.y_stride,
         p.a.next, p.b.next, p.y_next, p.batch,    kind,       aligned};
  }
  bool operator==(const Key&) const = default;
};

struct Hash {
  std::size_t operator()(const Key& k) const {
    std::uint64_t h = 0;
    for (const std::int64_t x : k.v)
      h = std::rotl((h ^ static_cast<std::uint64_t>(x)) * 0x9E3779B97F4A7C15u, 29);
    return h;
  }
};

// A kernel of cuBLAS's for one kind of product. cuBLAS is column-major: it computes y^T = b^T a^T, so its
// first operand is b.
struct Plan {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t a, b, y;
  cublasLtMatmulAlgo_t algorithm;
  std::size_t workspace = 0;
  bool possible = false;
};

template<class T>
void set(cublasLtMatmulDescOpaque_t& d, cublasLtMatmulDescAttributes_t what, T value, std::string_view op) {
  check(cublasLtMatmulDescSetAttribute(&d, what, &value, sizeof value), op);
}

cublasLtMatrixLayoutOpaque_t layout(DType t, std::int64_t down, std::int64_t across, std::int64_t stride,
                                    std::int64_t batch, std::int64_t next, std::string_view op) {
  cublasLtMatrixLayoutOpaque_t l;
  check(cublasLtMatrixLayoutInit(&l, type_of(t), static_cast<std::uint64_t>(down),
                                 static_cast<std::uint64_t>(across), stride),
        op);
  if (batch == 1) return l;
  const auto count = static_cast<std::int32_t>(batch);
  check(cublasLtMatrixLayoutSetAttribute(&l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), op);
  check(cublasLtMatrixLayoutSetAttribute(&l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &next, sizeof next),
        op);
  return l;
}

cublasLtMatrixLayoutOpaque_t layout(DType t, const Operand& x, std::int64_t rows, std::int64_t cols,
                                    std::int64_t batch, std::string_view op) {
  return layout(t, x.transposed ? rows : cols, x.transposed ? cols : rows, x.stride, batch, x.next, op);
}

// The first candidate that can run; cuBLAS orders them by the time it expects them to take.
const cublasLtMatmulHeuristicResult_t* choose(std::span<const cublasLtMatmulHeuristicResult_t> candidates) {
  const auto it = std::find_if(candidates.begin(), candidates.end(),
                               [](auto& c) { return c.state == CUBLAS_STATUS_SUCCESS; });
  return it == candidates.end() ? nullptr : &*it;
}

std::shared_ptr<const Plan> make_plan(std::string_view op, Device d, const Gemm& p) {
  auto plan = std::make_shared<Plan>();
  const bool f64 = p.dtype == DType::f64;
  check(cublasLtMatmulDescInit(&plan->product,
                               f64      ? CUBLAS_COMPUTE_64F
                               : p.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                        : CUBLAS_COMPUTE_32F,
                               f64 ? CUDA_R_64F : CUDA_R_32F),
        op);
  set(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, op);
  set(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, op);
  set(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p), op);
  if (const void* v = vector_of(p)) set(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, v, op);
  plan->a = layout(p.dtype, p.b, p.inner, p.cols, p.batch, op);
  plan->b = layout(p.dtype, p.a, p.rows, p.inner, p.batch, op);
  plan->y = layout(p.y_dtype, p.cols, p.rows, p.y_stride, p.batch, p.y_next, op);

  cublasLtMatmulPreferenceOpaque_t preference;
  check(cublasLtMatmulPreferenceInit(&preference), op);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(&preference, what, &value, sizeof value), op);
  };
  const std::uint64_t mebibytes = properties(d).major >= 9 ? 32 : 4;
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, mebibytes << 20);
  // Where several blocks share a sum, its parts must be added in f32 and in a fixed order.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  const Alignments to(p);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t{to.b});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t{to.a});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t{to.y});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t{std::min(to.y, to.vector)});

  std::array<cublasLtMatmulHeuristicResult_t, 8> candidates{};
  int count = 0;
  if (cublasLtMatmulAlgoGetHeuristic(handle(d, op), &plan->product, &plan->a, &plan->b, &plan->y, &plan->y,
                                     &preference, static_cast<int>(candidates.size()), candidates.data(),
                                     &count) != CUBLAS_STATUS_SUCCESS)
    return plan;
  if (const auto* chosen = choose({candidates.data(), static_cast<std::size_t>(count)})) {
    plan->algorithm = chosen->algo;
    plan->workspace = chosen->workspaceSize;
    plan->possible = true;
  }
  return plan;
}

// The plan for a product. cuBLAS takes tens of microseconds to make one, so they are cached.
std::shared_ptr<const Plan> plan_for(std::string_view op, Device d, const Gemm& p) {
  constexpr std::size_t most = 8192;  // bounds the memory of programs whose shapes never repeat
  static std::mutex mutex;
  static auto& plans = *new std::unordered_map<Key, std::shared_ptr<const Plan>, Hash>;
  const Key key(d, p);
  std::lock_guard lock(mutex);
  if (const auto it = plans.find(key); it != plans.end()) return it->second;
  auto plan = make_plan(op, d, p);
  if (plans.size() == most) plans.clear();
  plans.emplace(key, plan);
  return plan;
}

// y = a b, added to y where `accumulate`. False where cuBLAS has no kernel for it.
bool multiply_once(std::string_view op, Device d, const Gemm& p, bool accumulate) {
  const auto plan = plan_for(op, d, p);
  if (!plan->possible) return false;
  // Freed at the end of this call; on this stream, that comes after the product.
  Tensor workspace;
  if (plan->workspace) workspace = empty({static_cast<std::int64_t>(plan->workspace)}, DType::u8, d);
  Plan now = *plan;
  if (const void* v = vector_of(p)) set(now.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, v, op);
  const float f32[] = {static_cast<float>(p.scale), accumulate ? 1.f : 0.f};
  const double f64[] = {p.scale, accumulate ? 1. : 0.};
  const bool wide = p.dtype == DType::f64;
  const void *alpha = wide ? static_cast<const void*>(f64) : f32,
             *beta = wide ? static_cast<const void*>(f64 + 1) : f32 + 1;
  check(cublasLtMatmul(handle(d, op), &now.product, alpha, p.b.data, &now.a, p.a.data, &now.b, beta, p.y,
                       &now.y, p.y, &now.y, &now.algorithm, workspace.raw(), now.workspace, stream(d)),
        op);
  return true;
}

const char* at(const Operand& x, std::int64_t row, std::int64_t col, DType t) {
  return static_cast<const char*>(x.data) +
         (x.transposed ? col * x.stride + row : row * x.stride + col) * size_of(t);
}

}  // namespace

bool multiply(std::string_view op, Device d, const Gemm& p) {
  if (p.scale == 1 && !p.accumulates && multiply_small(op, d, {&p, 1})) return true;
  if (p.a.gate || p.relu) return false;  // cuBLASLt's relu makes 0 of NaN (NVIDIA's forum, topic 329783)
  // cuBLAS's sizes have 32 bits, and some of its kernels take at most 65535 matrices. Larger products are
  // computed in parts.
  constexpr std::int64_t side = 1 << 24, together = 65535;
  const bool whole = std::max({p.rows, p.cols, p.inner}) <= side && p.batch <= together;
  if (!whole && vector_of(p)) return false;
  const DeviceGuard use(d);
  last_used() = d;
  if (whole && pays_to_pad(p)) return multiply_padded(op, d, p);
  for (std::int64_t i = 0; i < p.batch; i += together)
    for (std::int64_t row = 0; row < p.rows; row += side)
      for (std::int64_t col = 0; col < p.cols; col += side)
        for (std::int64_t k = 0; k < p.inner; k += side) {
          Gemm part = p;
          part.batch = std::min(together, p.batch - i);
          part.rows = std::min(side, p.rows - row);
          part.cols = std::min(side, p.cols - col);
          part.inner = std::min(side, p.inner - k);
          part.a.data = at(p.a, row, k, p.dtype) + i * p.a.next * size_of(p.dtype);
          part.b.data = at(p.b, k, col, p.dtype) + i * p.b.next * size_of(p.dtype);
          part.y = static_cast<char*>(p.y) + (i * p.y_next + row * p.y_stride + col) * size_of(p.y_dtype);
          if (multiply_once(op, d, part, p.accumulates || k > 0)) continue;
          if (vector_of(p)) return false;
          fail<CudaError>(op, ": cuBLAS has no kernel for [", p.rows, ",", p.inner, "] by [", p.inner, ",",
                          p.cols, "] in ", p.dtype);
        }
  return true;
}

}  // namespace bobbin::cuda
