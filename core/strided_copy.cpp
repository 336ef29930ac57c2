// Reads, writes and copies strided tensors on the CPU: a block of elements is divided into runs along the
// innermost dimension.
#include "core/strided_copy.h"

#include <bobbin/parallel.h>

#include <algorithm>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"

namespace bobbin {

StridedView::StridedView(const Tensor& x, const Shape& shape)
    : base_(x.raw<char>()), dtype_(x.dtype()), numel_(bobbin::numel(shape)) {
  if (numel_ == 0) return;  // the other sizes may overflow
  for (int d = shape.size() - 1; d >= 0; --d)
    dims_.append(shape[d], {broadcast_stride(x.shape(), x.strides(), shape, d)});
}

StridedView::StridedView(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset)
    : base_(x.raw<char>()), dtype_(x.dtype()), numel_(bobbin::numel(shape)) {
  if (base_) base_ += (offset - x.offset()) * size_of(dtype_);
  if (numel_ == 0) return;
  for (int d = shape.size() - 1; d >= 0; --d) dims_.append(shape[d], {strides[d]});
}

// Calls f(address of the run's first element, its position in the block, its length) for each run of the
// block.
template<class F>
void StridedView::for_each_run(std::int64_t first, std::int64_t n, F&& f) const {
  const auto& size = dims_.size;
  const auto& stride = dims_.stride[0];
  const std::int64_t bytes = size_of(dtype_);
  if (dims_.rank <= 1) return f(base_ + first * stride[0] * bytes, std::int64_t{0}, n);
  std::int64_t index[max_rank] = {};
  std::int64_t offset = 0;
  for (int d = 0; d < dims_.rank; ++d) {
    index[d] = first % size[d];
    first /= size[d];
    offset += index[d] * stride[d];
  }
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t run = std::min(n - done, size[0] - index[0]);
    f(base_ + offset * bytes, done, run);
    done += run;
    index[0] += run;
    offset += run * stride[0];
    for (int d = 0; d + 1 < dims_.rank && index[d] == size[d]; ++d) {
      offset += stride[d + 1] - index[d] * stride[d];
      index[d] = 0;
      ++index[d + 1];
    }
  }
}

const void* StridedView::read(std::int64_t first, std::int64_t n, DType as, void* target) const {
  if (as == dtype_ && is_contiguous()) return base_ + (dims_.rank == 0 ? 0 : first) * size_of(dtype_);
  const std::int64_t from = size_of(dtype_), to = size_of(as), stride = dims_.stride[0][0];
  auto* const out = static_cast<char*>(target);
  if (as == dtype_) {
    for_each_run(first, n, [&](const char* x, std::int64_t at, std::int64_t run) {
      gather(from, x, stride, out + at * to, run);
    });
  } else if (stride == 1) {
    for_each_run(first, n, [&](const char* x, std::int64_t at, std::int64_t run) {
      convert(dtype_, x, 1, as, out + at * to, run);
    });
  } else {
    alignas(64) char buffer[block_size * 8];
    for (std::int64_t i = 0; i < n; i += block_size) {
      const std::int64_t count = std::min(block_size, n - i);
      for_each_run(first + i, count, [&](const char* x, std::int64_t at, std::int64_t run) {
        gather(from, x, stride, buffer + at * from, run);
      });
      convert(dtype_, buffer, 1, as, out + i * to, count);
    }
  }
  return target;
}

void StridedView::write(std::int64_t first, std::int64_t n, DType from, const void* source) const {
  const std::int64_t in = size_of(from), own = size_of(dtype_), stride = dims_.stride[0][0];
  const auto* const x = static_cast<const char*>(source);
  if (from == dtype_) {
    for_each_run(first, n, [&](char* y, std::int64_t at, std::int64_t run) {
      scatter(own, x + at * own, y, stride, run);
    });
  } else if (stride == 1) {
    for_each_run(first, n, [&](char* y, std::int64_t at, std::int64_t run) {
      convert(from, x + at * in, 1, dtype_, y, run);
    });
  } else {
    alignas(64) char buffer[block_size * 8];
    for (std::int64_t i = 0; i < n; i += block_size) {
      const std::int64_t count = std::min(block_size, n - i);
      convert(from, x + i * in, 1, dtype_, buffer, count);
      for_each_run(first + i, count, [&](char* y, std::int64_t at, std::int64_t run) {
        scatter(own, buffer + at * own, y, stride, run);
      });
    }
  }
}

void copy_elements(const Tensor& x, const Tensor& y) {
  if (!x.device().is_cpu() || !y.device().is_cpu()) return cuda::copy_elements(x, y);
  const StridedView from(x, y.shape()), to(y);
  constexpr std::int64_t tile = 16 * block_size;
  parallel_for(ceil_div(to.numel(), tile), [&](std::int64_t t) {
    alignas(64) char scratch[block_size * 8];
    const std::int64_t end = std::min(to.numel(), (t + 1) * tile);
    for (std::int64_t i = t * tile; i < end; i += block_size) {
      const std::int64_t n = std::min(block_size, end - i);
      to.write(i, n, x.dtype(), from.read(i, n, x.dtype(), scratch));
    }
  });
}

Tensor row_major(const Tensor& x, std::optional<DType> dtype) {
  if (!x || (x.is_contiguous() && x.dtype() == dtype.value_or(x.dtype()))) return x;
  Tensor y = empty(x.shape(), dtype.value_or(x.dtype()), x.device());
  copy_elements(x, y);
  return y;
}

}  // namespace bobbin
