// random_affine: checks, the public function, and the CPU kernel.
#include "ops/random/random_affine.h"

#include <bobbin/parallel.h>

#include <algorithm>

#include "core/cast.h"
#include "ops/check.h"

namespace bobbin {
namespace {

// The copy of a plane [h, w] without rotation: rows are copied, and reversed if the image is flipped.
template<class T>
void shift_plane(const AffineTransform& m, const T* from, T* to, int h, int w, T fill) {
  const int first = std::clamp(-m.shift_w, 0, w), last = std::clamp(w - m.shift_w, first, w);
  for (int y = 0; y < h; ++y, to += w) {
    const int row = y + m.shift_h;
    if (row < 0 || row >= h) {
      std::fill_n(to, w, fill);
      continue;
    }
    std::fill_n(to, first, fill);
    std::copy(from + row * w + first + m.shift_w, from + row * w + last + m.shift_w, to + first);
    std::fill(to + last, to + w, fill);
    if (m.flipped) std::reverse(to, to + w);
  }
}

// The copy of a plane with rotation.
template<class T>
void rotate_plane(const AffineTransform& m, const T* from, T* to, int h, int w, T fill) {
  using W = std::conditional_t<std::is_same_v<T, double>, double, float>;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) *to++ = T(m.pixel<W>(from, h, w, y, x, static_cast<W>(fill)));
}

}  // namespace

TensorSpec RandomAffine::infer(Inputs x) const {
  require_floating(name, x[0]);
  if (x[0].rank() != 4 || x[0].size(2) * x[0].size(3) >= std::int64_t{1} << 31)
    fail<ShapeError>(name, ": expected images [n, channels, height, width]; got ", x[0].spec());
  return x[0].spec();
}

void RandomAffine::cpu(Inputs x, Tensor& y) const {
  const Philox philox{state.seed, state.draws};
  const int h = static_cast<int>(y.size(2)), w = static_cast<int>(y.size(3));
  const std::int64_t channels = y.size(1), plane = y.size(2) * y.size(3);
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto* const from = x[0].raw<T>();
    auto* const to = y.raw<T>();
    const T fill = cast<T>(options.fill);
    parallel_for(y.size(0), [&](std::int64_t image) {
      const AffineTransform transform(options, philox(static_cast<std::uint64_t>(image)));
      for (std::int64_t p = image * channels; p < (image + 1) * channels; ++p)
        (transform.rotated ? rotate_plane<T> : shift_plane<T>)(transform, from + p * plane, to + p * plane, h,
                                                               w, fill);
    });
  });
}

Tensor random_affine(const Tensor& images, const RandomAffineOptions& o) {
  if (!(o.degrees >= 0 && o.degrees <= 180) || o.shift < 0 || o.shift > 1 << 20 ||
      !(o.flip >= 0 && o.flip <= 1))
    fail<ValueError>(RandomAffine::name,
                     ": expected degrees in [0, 180], a shift in [0, 2^20] and a probability of flips; got ",
                     o.degrees, ", ", o.shift, " and ", o.flip);
  Generator& generator = default_generator();
  Tensor y = record(RandomAffine{o, generator}, {images});
  ++generator.draws;  // a call that throws draws nothing
  return y;
}

}  // namespace bobbin
