#include <bobbin/layers.h>
#include <bobbin/random.h>

#include <cmath>

namespace bobbin::nn {

Linear::Linear(std::int64_t in, std::int64_t out, bool with_bias, DType dtype) {
  if (in < 1 || out < 1) fail<ValueError>("Linear: expected sizes of at least 1; got ", in, " and ", out);
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  weight = uniform({out, in}, -bound, bound, dtype).set_requires_grad();
  if (with_bias) bias = uniform({out}, -bound, bound, dtype).set_requires_grad();
}

}  // namespace bobbin::nn
