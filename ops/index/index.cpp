#include "ops/index/index.h"

#include <cstring>

#include "ops/index/walk.h"
#include "ops/samples.h"

namespace bobbin {

using namespace index_walk;

namespace {

constexpr std::int64_t tile_bytes = 1 << 19;  // less than that is copied sooner than a thread wakes up

void require_vector(std::string_view op, const Tensor& index) {
  require_index(op, index);
  if (index.rank() != 1) fail<ShapeError>(op, ": expected a 1-dimensional index; got ", index.spec());
}

void require_numbers(std::string_view op, const Tensor& x) {
  if (x.dtype() == DType::boolean)
    fail<DTypeError>(op, ": expected numbers; got ", x.spec(), "; convert it with to(x, DType)");
}

void require_inside(std::string_view op, const Tensor& x, const Tensor& index, int axis) {
  require_index(op, index);
  bool fits = index.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || index.shape()[i] <= x.shape()[i];
  if (!fits)
    fail<ShapeError>(op, ": the index must have x's rank and be no larger than x but on axis ", axis,
                     "; got ", x.spec(), " and ", index.spec());
}

// Zeros like input 0 to add to; they take no memory.
Tensor nothing_yet(const Vjp& v) { return expand(scalar(0, v.grad), v.spec(0).shape); }

}  // namespace

TensorSpec IndexSelect::infer(Inputs x) const {
  require_vector(name, x[1]);
  Shape shape = x[0].shape();
  shape[axis] = x[1].numel();
  return {shape, x[0].dtype(), x[0].device()};
}

// Slices are copied as runs of the elements behind the axis, which must lie in one piece for that.
void IndexSelect::cpu(Inputs in, Tensor& y) const {
  const Tensor& index = in[1];
  const auto* pick = checked(name, index, in[0].shape()[axis]);
  if (y.numel() == 0) return;
  Shape run;
  Strides run_strides;
  for (int i = axis + 1; i < y.rank(); ++i)
    run.push_back(y.shape()[i]), run_strides.push_back(in[0].strides()[i]);
  const Tensor x = in[0].alias(run, run_strides, 0).is_contiguous() ? in[0] : row_major(in[0]);

  const auto outer = offsets(x.shape(), x.strides(), 0, axis);
  const std::int64_t item = size_of(x.dtype()), size = numel(run) * item, length = index.numel();
  const std::int64_t rows = std::ssize(outer) * length, stride = x.strides()[axis];
  const auto* from = x.raw<char>();
  auto* to = y.raw<char>();
  visit_bytes(size, [&](auto known) {
    const std::int64_t bytes = known != 0 ? known() : size;
    for_tiles(rows, std::max<std::int64_t>(1, tile_bytes / size), [&](std::int64_t r, std::int64_t end) {
      std::int64_t o = r / length, i = r % length;
      const auto next = [&] {
        const char* slice = from + (outer[static_cast<std::size_t>(o)] + pick[i] * stride) * item;
        if (++i == length) i = 0, ++o;
        return slice;
      };
      for (const char* slice = next(); r < end; ++r) {
        const char* now = slice;
        if (r + 1 < end) slice = next();
        if (known == 0) __builtin_prefetch(slice);  // the processor cannot guess where the next slice is
        std::memcpy(to + r * bytes, now, static_cast<std::size_t>(bytes));
      }
    });
  });
}

Grads IndexSelect::vjp(const Vjp& v) const {
  return {index_add(nothing_yet(v), axis, v.input(1), v.grad), {}};
}

TensorSpec IndexAdd::infer(Inputs x) const {
  require_vector(name, x[1]);
  require_numbers(name, x[0]);
  require_same_dtype(name, x[0], x[2]);
  Shape shape = x[0].shape();
  shape[axis] = x[1].numel();
  if (x[2].shape() != shape)
    fail<ShapeError>(name, ": expected a source of shape ", shape, "; got ", x[2].spec());
  return x[0].spec();
}

void IndexAdd::cpu(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const std::int64_t size = in[0].shape()[axis], length = index.numel();
  const auto* pick = checked(name, index, size);
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < y.rank(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= y.shape()[i];
  add_to_copy(in[0], y, [&]<class T, class Sum>(Type<T>, Sum* sums) {
    const auto* from = source.raw<T>();
    for_columns(outer, length, inner, [&](std::int64_t o, std::int64_t first, std::int64_t n) {
      for (std::int64_t l = 0; l < length; ++l) {
        Sum* __restrict to = sums + (o * size + pick[l]) * inner + first;
        const T* __restrict add = from + (o * length + l) * inner + first;
        for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<Sum>(to[i] + static_cast<Sum>(add[i]));
      }
    });
  });
}

Grads IndexAdd::vjp(const Vjp& v) const {
  return {v.needs(0) ? v.grad : Tensor(), {}, v.needs(2) ? index_select(v.grad, axis, v.input(1)) : Tensor()};
}

TensorSpec Gather::infer(Inputs x) const {
  require_inside(name, x[0], x[1], axis);
  return {x[1].shape(), x[0].dtype(), x[0].device()};
}

void Gather::cpu(Inputs in, Tensor& y) const {
  const Tensor &x = in[0], &index = in[1];
  const auto* pick = checked(name, index, x.shape()[axis]);
  const Grid grid(index.shape(), x.strides(), axis);
  const auto* from = x.raw<char>();
  auto* to = y.raw<char>();
  visit_bytes(size_of(x.dtype()), [&](auto bytes) {
    for_tiles(y.numel(), tile_elements, [&](std::int64_t k, std::int64_t end) {
      std::int64_t line = k / grid.width, i = k % grid.width, o = line / grid.length, l = line % grid.length;
      while (k < end) {
        const std::int64_t base = grid.outer[static_cast<std::size_t>(o)];
        for (; i < grid.width && k < end; ++i, ++k) {
          const std::int64_t at = base + grid.inner[static_cast<std::size_t>(i)] + pick[k] * grid.stride;
          std::memcpy(to + k * bytes, from + at * bytes, static_cast<std::size_t>(bytes()));
        }
        i = 0;
        if (++l == grid.length) l = 0, ++o;
      }
    });
  });
}

Grads Gather::vjp(const Vjp& v) const { return {scatter_add(nothing_yet(v), axis, v.input(1), v.grad), {}}; }

TensorSpec ScatterAdd::infer(Inputs x) const {
  require_inside(name, x[0], x[1], axis);
  require_numbers(name, x[0]);
  require_same_dtype(name, x[0], x[2]);
  if (x[1].shape() != x[2].shape())
    fail<ShapeError>(name, ": index and source must agree in shape; got ", x[1].spec(), " and ", x[2].spec());
  return x[0].spec();
}

void ScatterAdd::cpu(Inputs in, Tensor& y) const {
  const Tensor &index = in[1], &source = in[2];
  const auto* pick = checked(name, index, y.shape()[axis]);
  const Grid grid(index.shape(), y.strides(), axis);
  add_to_copy(in[0], y, [&]<class T, class Sum>(Type<T>, Sum* sums) {
    const auto* from = source.raw<T>();
    for_columns(std::ssize(grid.outer), grid.length, grid.width,
                [&](std::int64_t o, std::int64_t first, std::int64_t n) {
                  const std::int64_t base = grid.outer[static_cast<std::size_t>(o)];
                  for (std::int64_t l = 0; l < grid.length; ++l) {
                    const std::int64_t row = (o * grid.length + l) * grid.width;
                    for (std::int64_t i = first; i < first + n; ++i) {
                      Sum& to =
                          sums[base + grid.inner[static_cast<std::size_t>(i)] + pick[row + i] * grid.stride];
                      to = static_cast<Sum>(to + static_cast<Sum>(from[row + i]));
                    }
                  }
                });
  });
}

Grads ScatterAdd::vjp(const Vjp& v) const {
  return {v.needs(0) ? v.grad : Tensor(), {}, v.needs(2) ? gather(v.grad, axis, v.input(1)) : Tensor()};
}

TensorSpec OneHot::infer(Inputs x) const {
  require_index(name, x[0]);
  if (classes < 1) fail<ValueError>(name, ": expected at least 1 class; got ", classes);
  Shape shape = x[0].shape();
  shape.push_back(classes);
  return {shape, dtype, x[0].device()};
}

void OneHot::cpu(Inputs in, Tensor& y) const {
  const auto* pick = checked(name, in[0], classes);
  auto* to = y.raw<char>();
  const double one = 1;
  char element[8];
  convert(DType::f64, &one, 1, dtype, element, 1);
  visit_bytes(size_of(dtype), [&](auto bytes) {
    for_tiles(
        in[0].numel(), std::max<std::int64_t>(1, tile_elements / classes),
        [&](std::int64_t i, std::int64_t end) {
          std::memset(to + i * classes * bytes, 0, static_cast<std::size_t>((end - i) * classes * bytes));
          for (; i < end; ++i)
            std::memcpy(to + (i * classes + pick[i]) * bytes, element, static_cast<std::size_t>(bytes()));
        });
  });
}

Tensor index_select(const Tensor& x, int axis, const Tensor& index) {
  return record(IndexSelect{normalize_axis("index_select", axis, x.rank())}, {x, index});
}
Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  return record(IndexAdd{normalize_axis("index_add", axis, x.rank())}, {x, index, source});
}
Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  return record(Gather{normalize_axis("gather", axis, x.rank())}, {x, index});
}
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  return record(ScatterAdd{normalize_axis("scatter_add", axis, x.rank())}, {x, index, source});
}
Tensor one_hot(const Tensor& index, std::int64_t classes, DType dtype) {
  return record(OneHot{classes, dtype}, {index});
}

Tensor embedding(const Tensor& weight, const Tensor& index) {
  require_index("embedding", index);
  if (weight.rank() != 2)
    fail<ShapeError>("embedding: expected a weight of 2 dimensions; got ", weight.spec());
  Shape shape = index.shape();
  shape.push_back(weight.size(1));
  return reshape(index_select(weight, 0, flatten(index)), shape);
}

}  // namespace bobbin
