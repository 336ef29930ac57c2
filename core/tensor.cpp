// The members of Tensor, and the functions that make tensors.
#include <bobbin/parallel.h>
#include <bobbin/tape.h>
#include <bobbin/tensor.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

// Sets all elements to `value`, rounded to the dtype.
void fill_elements(const Tensor& t, double value) {
  if (t.device().is_cuda()) return cuda::fill_elements(t, value);
  alignas(64) char scratch[block_size * 8];
  convert(DType::f64, &value, 0, t.dtype(), scratch, std::min(block_size, t.numel()));
  const StridedView view(t);
  parallel_for(ceil_div(t.numel(), block_size), [&](std::int64_t b) {
    view.write(b * block_size, std::min(block_size, t.numel() - b * block_size), t.dtype(), scratch);
  });
}

// Throws unless elements of dtype d can be `value`.
void require_number(std::string_view op, double value, DType d) {
  if (!can_hold(d, value))
    fail<ValueError>(op, ": no ", d, " is ", value, "; choose another dtype, or round the number first");
}
// Throws unless `value` without its fraction is in the range of d.
void require_in_range(std::string_view op, double value, DType d) {
  if (!in_range(d, value))
    fail<ValueError>(op, ": ", value, " is beyond the range of ", d, "; choose another dtype");
}

}  // namespace

void Tensor::undefined() { fail<Error>("an undefined tensor has no shape, dtype or elements"); }

bool Tensor::is_contiguous() const {
  if (shape().contains(0)) return true;
  std::int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape()[i] != 1 && strides()[i] != expected) return false;
    expected *= shape()[i];
  }
  return true;
}

void* Tensor::checked_data(DType asked) const {
  if (asked != dtype())
    fail<DTypeError>("data: the tensor holds ", dtype(), ", not ", asked, "; convert it with to(x, DType)");
  if (!device().is_cpu())
    fail<DeviceError>("data: the tensor is on ", device(), "; copy it with to(x, Device::cpu())");
  if (!is_contiguous()) fail<ShapeError>("data: the tensor is a strided view; copy it with contiguous(x)");
  return raw();
}

void Tensor::check_single() const {
  if (numel() != 1) fail<ShapeError>("item: expected one element; got ", spec());
}

void Tensor::read_as(DType as, void* out) const {
  if (numel() == 0) return;
  if (!device().is_cpu()) {
    const Tensor here = empty(shape(), dtype());
    copy_elements(*this, here);
    return here.read_as(as, out);
  }
  const void* p = StridedView(*this).read(0, numel(), as, out);
  if (p != out) std::memcpy(out, p, static_cast<std::size_t>(numel() * size_of(as)));
}

double Tensor::at(const Dims& index) const {
  if (index.size() != rank()) fail<IndexError>("at: index ", index, " does not fit ", spec());
  std::int64_t place = offset();
  for (int i = 0; i < rank(); ++i) {
    if (index[i] < 0 || index[i] >= shape()[i]) fail<IndexError>("at: index ", index, " is outside ", spec());
    place += index[i] * strides()[i];
  }
  return alias({}, {}, place).item();
}

void Tensor::guard_edit(std::string_view what) {
  if (grad_enabled() && requires_grad())
    fail<GradError>(what,
                    ": an in-place edit of a tensor that needs a gradient cannot be recorded; "
                    "edit it under NoGrad, or its detach()");
  ++impl_->storage->version;
}

Tensor& Tensor::fill_(double value) {
  require_number("fill_", value, dtype());
  guard_edit("fill_");
  fill_elements(*this, value);
  return *this;
}

Tensor& Tensor::copy_(const Tensor& source) {
  for (int i = 0; i < rank(); ++i)
    if (strides()[i] == 0 && shape()[i] > 1)
      fail<ShapeError>("copy_: ", spec(),
                       " is expanded: several of its elements are one; use its contiguous(x)");
  if (broadcast("copy_", shape(), source.shape()) != shape())
    fail<ShapeError>("copy_: ", source.spec(), " does not broadcast to ", spec());
  if (grad_enabled() && source.requires_grad())
    fail<GradError>("copy_: the source needs a gradient, which a copy in place would lose; use its detach()");
  guard_edit("copy_");
  if (storage() == source.storage()) {  // they may overlap: copies through a second buffer
    Tensor apart = empty(source.spec());
    copy_elements(source, apart);
    copy_elements(apart, *this);
  } else {
    copy_elements(source, *this);
  }
  return *this;
}

Tensor& Tensor::set_requires_grad(bool on) {
  if (!is_leaf())
    fail<GradError>("set_requires_grad: the tensor was computed by a recorded operation; use its detach()");
  if (on && !is_floating(dtype()))
    fail<DTypeError>("set_requires_grad: only floating-point tensors have gradients; got ", spec());
  if (on && !requires_grad()) impl_->node = std::make_shared<Node>(spec());
  if (!on) impl_->node = nullptr;
  return *this;
}

bool Tensor::is_leaf() const { return !impl().node || impl_->node->is_leaf(); }

Tensor Tensor::grad() const { return impl().node ? impl_->node->grad : Tensor(); }

void Tensor::set_grad(Tensor g) {
  if (!requires_grad()) fail<GradError>("set_grad: ", spec(), " does not require a gradient");
  if (g && g.spec() != spec()) fail<ShapeError>("set_grad: a gradient of ", spec(), " cannot be ", g.spec());
  if (g && g.requires_grad()) g = g.detach();
  impl_->node->grad = std::move(g);
}

void Tensor::retain_grad() {
  if (!requires_grad()) fail<GradError>("retain_grad: ", spec(), " does not require a gradient");
  impl_->node->keeps_grad = true;
}

int Tensor::register_hook(Hook hook) {
  if (!requires_grad()) fail<GradError>("register_hook: ", spec(), " does not require a gradient");
  auto& hooks = impl_->node->hooks;
  static std::atomic<int> next = 0;
  const int id = next++;
  auto more = hooks ? std::make_shared<Hooks>(*hooks) : std::make_shared<Hooks>();
  more->emplace_back(id, std::move(hook));
  hooks = std::move(more);
  return id;
}

void Tensor::remove_hook(int id) {
  if (!requires_grad() || !impl_->node->hooks) return;
  auto rest = std::make_shared<Hooks>(*impl_->node->hooks);
  std::erase_if(*rest, [&](auto& h) { return h.first == id; });
  impl_->node->hooks = rest->empty() ? nullptr : std::move(rest);
}

Tensor Tensor::detach() const { return alias(shape(), strides(), offset()); }

Tensor Tensor::alias(const Shape& shape, const Strides& strides, std::int64_t offset) const {
  Tensor t;
  t.impl_ = std::make_shared<detail::TensorImpl>();
  t.impl_->spec = {shape, dtype(), device()};
  t.impl_->strides = strides;
  t.impl_->offset = offset;
  t.impl_->storage = storage();
  return t;
}

Tensor empty(const TensorSpec& spec) {
  require(spec.device);
  const std::int64_t n = numel(spec.shape);
  if (n >= (std::int64_t{1} << 60)) fail<OutOfMemory>("empty: ", spec, " is more than any memory holds");
  Tensor t;
  t.impl_ = std::make_shared<detail::TensorImpl>();
  t.impl_->spec = spec;
  t.impl_->strides = contiguous_strides(spec.shape);
  t.impl_->storage =
      std::make_shared<Storage>(static_cast<std::size_t>(n * size_of(spec.dtype)), spec.device);
  return t;
}

Tensor from_blob(void* data, const TensorSpec& spec, std::shared_ptr<const void> owner) {
  if (!spec.device.is_cpu()) fail<DeviceError>("from_blob: expected memory of the CPU; got ", spec);
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(size_of(spec.dtype)) != 0)
    fail<ValueError>("from_blob: ", spec, " is not aligned to its elements; copy it");
  const std::int64_t n = numel(spec.shape);
  if (!data && n > 0) fail<ValueError>("from_blob: the memory of ", spec, " is null");
  if (n >= (std::int64_t{1} << 60)) fail<ValueError>("from_blob: ", spec, " is more than any memory holds");
  Tensor t;
  t.impl_ = std::make_shared<detail::TensorImpl>();
  t.impl_->spec = spec;
  t.impl_->strides = contiguous_strides(spec.shape);
  t.impl_->storage =
      std::make_shared<Storage>(data, static_cast<std::size_t>(n * size_of(spec.dtype)), std::move(owner));
  return t;
}

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  require_number("full", value, dtype);
  Tensor t = empty(shape, dtype, device);
  fill_elements(t, value);
  return t;
}

Tensor arange(double start, double stop, double step, DType dtype, Device device) {
  double n = std::ceil((stop - start) / step);
  if (!std::isfinite(n) || step == 0)
    fail<ValueError>("arange: no finite range from ", start, " to ", stop, " by ", step);
  if (n >= 0x1p60) fail<OutOfMemory>("arange: ", n, " elements are more than any memory holds");
  if (const double last = start + (n - 1) * step; n > 0 && (step > 0 ? last >= stop : last <= stop))
    --n;  // the division rounded up
  if (n > 0)
    for (const double end : {start, start + (n - 1) * step}) require_in_range("arange", end, dtype);
  Tensor v = empty({static_cast<std::int64_t>(std::max(0.0, n))}, DType::f64);
  double i = 0;
  for (double& x : v.mutable_data<double>()) x = start + i++ * step;
  return empty(v.shape(), dtype, device).copy_(v);
}

Tensor linspace(double first, double last, std::int64_t n, DType dtype, Device device) {
  if (n < 0) fail<ValueError>("linspace: expected a count of at least 0; got ", n);
  if (!std::isfinite(first) || !std::isfinite(last))
    fail<ValueError>("linspace: expected finite ends; got ", first, " and ", last);
  for (const double end : {first, last}) require_in_range("linspace", end, dtype);
  Tensor t = empty({n}, DType::f64);
  const auto v = t.mutable_data<double>();
  const auto steps = static_cast<double>(n - 1);
  for (std::int64_t i = 0; i < n; ++i) {
    const double moved = (last - first) * static_cast<double>(i), share = static_cast<double>(i) / steps;
    // Ends far apart: the way between them has no f64.
    v[static_cast<std::size_t>(i)] = i == n - 1             ? last
                                     : std::isfinite(moved) ? first + moved / steps
                                                            : first * (1 - share) + last * share;
  }
  if (n == 1) v[0] = first;
  return empty({n}, dtype, device).copy_(t);
}

Tensor eye(std::int64_t n, DType dtype, Device device) {
  Tensor t = zeros({n, n}, dtype, device);
  t.alias({n}, {n + 1}, 0).fill_(1);
  return t;
}

Nested::Nested(std::initializer_list<Nested> parts) {
  shape_.push_back(static_cast<std::int64_t>(parts.size()));
  for (const Nested& part : parts) {
    if (part.shape_ != parts.begin()->shape_)
      fail<ShapeError>("tensor: lists of one level must have equal lengths; got ", parts.begin()->shape_,
                       " and ", part.shape_);
    values_.insert(values_.end(), part.values_.begin(), part.values_.end());
  }
  if (parts.size() != 0)
    for (auto size : parts.begin()->shape_) shape_.push_back(size);
}

Tensor tensor(const Nested& list, DType dtype, Device device) {
  if (!is_floating(dtype))
    for (const double value : list.values()) require_number("tensor", value, dtype);
  return empty(list.shape(), dtype, device).copy_(from_range(list.values(), list.shape()));
}

}  // namespace bobbin
