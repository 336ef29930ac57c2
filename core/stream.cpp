// Stream and StreamScope.
#include <bobbin/error.h>
#include <bobbin/stream.h>

#include "core/cuda/backend.h"

namespace bobbin {

Stream::Stream(Device d) : device_(d) {
  if (!d.is_cuda()) fail<DeviceError>("stream: only a GPU has streams; got ", d);
  require(d);
  handle_ = cuda::make_stream(d);
}

StreamScope::StreamScope(const Stream& s) : stream_(s), before_(cuda::enter_stream(s.device(), s.handle())) {}

StreamScope::~StreamScope() { cuda::leave_stream(stream_.device(), stream_.handle(), before_); }

}  // namespace bobbin
