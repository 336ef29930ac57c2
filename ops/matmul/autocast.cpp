// The Autocast scope: a dtype for each thread.
#include <bobbin/autocast.h>
#include <bobbin/error.h>

namespace bobbin {
namespace {
thread_local DType current = DType::f32;
}

Autocast::Autocast(DType dtype) : before_(current) {
  if (dtype != DType::bf16 && dtype != DType::f16 && dtype != DType::f32)
    fail<DTypeError>("Autocast: expected bf16, f16 or f32; got ", dtype);
  current = dtype;
}
Autocast::~Autocast() { current = before_; }

DType autocast_dtype() { return current; }

}  // namespace bobbin
