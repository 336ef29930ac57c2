#include "core/strided_copy.h"

#include <bobbin/parallel.h>

#include <cstring>
#include <limits>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"

namespace bobbin {
namespace {

template<class To, class From>
To cast(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<To, bool>) {
    if constexpr (is_16bit_float<From>)
      return static_cast<float>(x) != 0;
    else
      return x != From(0);
  } else if constexpr (is_16bit_float<From>) {
    return cast<To>(static_cast<float>(x));
  } else if constexpr (is_16bit_float<To>) {
    return To(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From high = static_cast<From>(std::numeric_limits<To>::max());
    if (x != x) return 0;
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

template<class From, class To>
void convert_run(const From* __restrict x, std::int64_t step, To* __restrict y, std::int64_t n) {
  if (step == 1) {
    if constexpr (std::is_same_v<From, To>)
      std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(To));
    else
      for (std::int64_t i = 0; i < n; ++i) y[i] = cast<To>(x[i]);
  } else if (step == 0) {
    const To v = cast<To>(*x);
    for (std::int64_t i = 0; i < n; ++i) y[i] = v;
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = cast<To>(x[i * step]);
  }
}

template<class From, class To>
void scatter_run(const From* __restrict x, To* __restrict y, std::int64_t step, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i * step] = cast<To>(x[i]);
}

}  // namespace

void convert(DType from, const void* source, std::int64_t step, DType to, void* target, std::int64_t n) {
  if (n == 0) return;
  visit(from, [&]<class From>(Type<From>) {
    visit(to, [&]<class To>(Type<To>) {
      convert_run(static_cast<const From*>(source), step, static_cast<To*>(target), n);
    });
  });
}

BlockView::BlockView(const Tensor& x, const Shape& shape)
    : base_(x.raw<char>()), dtype_(x.dtype()), numel_(bobbin::numel(shape)) {
  const int lead = shape.size() - x.rank();
  Strides strides = Strides::filled(shape.size(), 0);
  for (int i = lead; i < shape.size(); ++i)
    if (x.shape()[i - lead] != 1) strides[i] = x.strides()[i - lead];
  merge(shape, strides);
}

BlockView::BlockView(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset)
    : base_(x.raw<char>()), dtype_(x.dtype()), numel_(bobbin::numel(shape)) {
  if (base_) base_ += (offset - x.offset()) * size_of(dtype_);
  merge(shape, strides);
}

void BlockView::merge(const Shape& shape, const Strides& strides) {
  if (numel_ == 0) return;  // the other sizes may overflow
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const int last = shape_.size() - 1;
    if (last >= 0 && strides_[last] == strides[i] * shape[i]) {  // this dimension continues the one before
      shape_[last] *= shape[i];
      strides_[last] = strides[i];
    } else {
      shape_.push_back(shape[i]);
      strides_.push_back(strides[i]);
    }
  }
}

// Calls f(source element offset, step, position in the block, length) for each run along the last dimension.
template<class F>
void BlockView::runs(std::int64_t first, std::int64_t n, F&& f) const {
  if (shape_.size() <= 1) {
    const std::int64_t step = shape_.empty() ? 0 : strides_[0];
    f(first * step, step, std::int64_t{0}, n);
    return;
  }
  const int inner = shape_.size() - 1;
  Dims index = Dims::filled(inner + 1, 0);
  std::int64_t offset = 0;
  for (int d = inner; d >= 0; --d) {
    index[d] = first % shape_[d];
    first /= shape_[d];
    offset += index[d] * strides_[d];
  }
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t run = std::min(n - done, shape_[inner] - index[inner]);
    f(offset, strides_[inner], done, run);
    done += run;
    index[inner] += run;
    offset += run * strides_[inner];
    for (int d = inner; d > 0 && index[d] == shape_[d]; --d) {
      offset += strides_[d - 1] - index[d] * strides_[d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
}

const void* BlockView::read(std::int64_t first, std::int64_t n, DType as, void* scratch) const {
  const std::int64_t from = size_of(dtype_), to = size_of(as);
  if (is_contiguous() && as == dtype_) return base_ + (shape_.empty() ? 0 : first) * from;
  runs(first, n, [&](std::int64_t offset, std::int64_t step, std::int64_t at, std::int64_t run) {
    convert(dtype_, base_ + offset * from, step, as, static_cast<char*>(scratch) + at * to, run);
  });
  return scratch;
}

void BlockView::write(std::int64_t first, std::int64_t n, DType from, const void* source) const {
  visit(from, [&]<class From>(Type<From>) {
    visit(dtype_, [&]<class To>(Type<To>) {
      const auto* x = static_cast<const From*>(source);
      auto* y = reinterpret_cast<To*>(base_);
      runs(first, n, [&](std::int64_t offset, std::int64_t step, std::int64_t at, std::int64_t run) {
        if (step == 1)
          convert_run(x + at, 1, y + offset, run);
        else
          scatter_run(x + at, y + offset, step, run);
      });
    });
  });
}

void copy_elements(const Tensor& x, const Tensor& y) {
#if BOBBIN_HAS_CUDA
  if (!x.device().is_cpu() || !y.device().is_cpu()) return cuda::copy_across(x, y);
#endif
  const BlockView from(x, y.shape()), to(y);
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
