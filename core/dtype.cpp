// The names of dtypes.
#include <bobbin/dtype.h>

#include <ostream>

namespace bobbin {

std::string_view name(DType d) {
  switch (d) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
    case DType::boolean:
      break;
  }
  return "bool";
}

std::ostream& operator<<(std::ostream& out, DType d) { return out << name(d); }

}  // namespace bobbin
