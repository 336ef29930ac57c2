// upsample_nearest2d: a copy of an expanded view of the image.
#include <bobbin/pool.h>
#include <bobbin/view.h>

namespace bobbin {

Tensor upsample_nearest2d(const Tensor& x, Pair scale) {
  if (x.rank() != 4)
    fail<ShapeError>("upsample_nearest2d: expected images [n, channels, h, w]; got ", x.spec());
  if (scale.h < 1 || scale.w < 1)
    fail<ValueError>("upsample_nearest2d: expected a scale of at least 1; got ", scale.h, " x ", scale.w);
  constexpr std::int64_t most = std::int64_t{1} << 31;
  if (scale.h > most || scale.w > most || x.size(2) > most || x.size(3) > most)
    fail<ShapeError>("upsample_nearest2d: the result of ", x.spec(), " would be too large at a scale of ",
                     scale.h, " x ", scale.w);
  const std::int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  return reshape(expand(reshape(x, {n, c, h, 1, w, 1}), {n, c, h, scale.h, w, scale.w}),
                 {n, c, h * scale.h, w * scale.w});
}

}  // namespace bobbin
