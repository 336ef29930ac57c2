// to(x, Device).
#include "ops/view/to_device.h"

namespace bobbin {

Tensor to(const Tensor& x, Device d) {
  require(d);
  return x.device() == d ? x : record(ToDevice{d}, {x});
}

}  // namespace bobbin
