// random_affine on a GPU: a thread computes one pixel of all channels of an image.
#include "core/cast.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/replay_arg.h"
#include "core/cuda/runtime.h"
#include "core/cuda/strided.cuh"
#include "ops/check.h"
#include "ops/random/random_affine.h"

namespace bobbin {
namespace {

constexpr int threads = 256;

// The sizes of the images.
struct Images {
  int channels, h, w;
  cuda::Divider by_pixels, by_w;
};

// Thread i computes pixel i, counted over all images, in all channels.
template<class T>
__global__ void __launch_bounds__(threads)
    transform_images(const __grid_constant__ cuda::ReplayArg<Philox> philox_arg,
                     const RandomAffineOptions options, const Images s, const T* from, T* to,
                     std::int64_t n) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  const std::int64_t plane = static_cast<std::int64_t>(s.h) * s.w,
                     image = n >> 32 ? i / plane : s.by_pixels(static_cast<std::uint32_t>(i));
  const int pixel = static_cast<int>(i - image * plane),
            y = static_cast<int>(s.by_w(static_cast<std::uint32_t>(pixel)));
  const AffineTransform transform(options, philox_arg.get()(static_cast<std::uint64_t>(image)));
  using W = cuda::Compute<T>;
  for (std::int64_t p = image * s.channels; p < (image + 1) * s.channels; ++p)
    to[p * plane + pixel] = T(transform.pixel<W>(from + p * plane, s.h, s.w, y, pixel - y * s.w,
                                                 static_cast<W>(cast<T>(options.fill))));
}

}  // namespace

void RandomAffine::cuda(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const std::int64_t pixels = y.size(2) * y.size(3), n = y.size(0) * pixels;
  const Images images{static_cast<int>(y.size(1)), static_cast<int>(y.size(2)), static_cast<int>(y.size(3)),
                      cuda::Divider(static_cast<std::uint32_t>(pixels)),
                      cuda::Divider(static_cast<std::uint32_t>(y.size(3)))};
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    cuda::launch(name, {.device = y.device(), .grid = cuda::blocks_for(n, threads), .block = threads},
                 transform_images<T>, cuda::replay_arg({state.seed, state.draws}), options, images,
                 x[0].raw<T>(), y.raw<T>(), n);
  });
}

}  // namespace bobbin
