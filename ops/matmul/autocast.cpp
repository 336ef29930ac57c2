// The Autocast scope: a dtype, and what products give, for each thread.
#include <bobbin/autocast.h>
#include <bobbin/error.h>

namespace bobbin {
namespace {
thread_local DType current = DType::f32;
thread_local ProductResults current_results = ProductResults::f32;
}  // namespace

Autocast::Autocast(DType dtype, ProductResults results) : before_(current), results_before_(current_results) {
  if (dtype != DType::bf16 && dtype != DType::f16 && dtype != DType::f32)
    fail<DTypeError>("Autocast: expected bf16, f16 or f32; got ", dtype);
  current = dtype;
  current_results = results;
}
Autocast::~Autocast() {
  current = before_;
  current_results = results_before_;
}

DType autocast_dtype() { return current; }
ProductResults autocast_results() { return current == DType::f32 ? ProductResults::f32 : current_results; }

}  // namespace bobbin
