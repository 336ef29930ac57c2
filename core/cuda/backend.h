// Moving, filling and drawing elements on a GPU: what core's own functions hand over to where a tensor is not
// on the CPU. No CUDA header in here.
#pragma once
#include <bobbin/tensor.h>

#include "core/philox.h"

namespace bobbin::cuda {

/// Copies all elements of x, converting as core/strided_copy.h's `convert` does, into y, a view of the same
/// shape on the same GPU; both may be strided. copy.cu
void copy_elements(const Tensor& x, const Tensor& y);
/// Every element of y, rounded through its dtype as on the CPU. copy.cu
void fill_elements(const Tensor& y, double value);

/// The draws of random.cpp, on the GPU: y is a fresh contiguous tensor, and its numbers are the CPU's:
/// the same bits, but for randn's, where log, sin and cos may differ in the last place. random.cu
void uniform(const Tensor& y, const Philox&, double low, double high, double top);
void normal(const Tensor& y, const Philox&);
void randint(const Tensor& y, const Philox&, std::int64_t low, std::uint64_t range);
void bernoulli(const Tensor& y, const Philox&, double p);
void randperm(const Tensor& y, const Philox&);

/// What core/strided_copy.h's copy_elements does where x or y, or both, lie on a GPU. To the device: returns
/// once x may be edited. To the host: waits. transfer.cpp
void copy_across(const Tensor& x, const Tensor& y);

/// A GPU's allocator. allocator.cpp
Allocator& allocator(Device);
/// Enqueued. transfer.cpp
void set_bytes(Device, void* p, int value, std::size_t n);
/// Waits. transfer.cpp
void get_bytes(Device, const void* p, void* host, std::size_t n);

}  // namespace bobbin::cuda
