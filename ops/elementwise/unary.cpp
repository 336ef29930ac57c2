// The public functions of one number.
#include "ops/elementwise/unary.h"

#include <cmath>

namespace bobbin {

Tensor neg(const Tensor& x) { return record(Neg{}, {x}); }
Tensor abs(const Tensor& x) { return record(Abs{}, {x}); }
Tensor sign(const Tensor& x) { return record(Sign{}, {x}); }
Tensor exp(const Tensor& x) { return record(Exp{}, {x}); }
Tensor expm1(const Tensor& x) { return record(Expm1{}, {x}); }
Tensor log(const Tensor& x) { return record(Log{}, {x}); }
Tensor log1p(const Tensor& x) { return record(Log1p{}, {x}); }
Tensor sqrt(const Tensor& x) { return record(Sqrt{}, {x}); }
Tensor rsqrt(const Tensor& x) { return record(Rsqrt{}, {x}); }
Tensor square(const Tensor& x) { return record(Square{}, {x}); }
Tensor reciprocal(const Tensor& x) { return record(Reciprocal{}, {x}); }
Tensor sin(const Tensor& x) { return record(Sin{}, {x}); }
Tensor cos(const Tensor& x) { return record(Cos{}, {x}); }
Tensor tanh(const Tensor& x) { return record(Tanh{}, {x}); }
Tensor erf(const Tensor& x) { return record(Erf{}, {x}); }
Tensor pow(const Tensor& x, double exponent) { return record(PowScalar{{{exponent}}}, {x}); }
Tensor clamp(const Tensor& x, double low, double high) {
  if (x && !is_floating(x.dtype()) && low <= high) {
    const double least = std::ceil(low), most = std::floor(high);
    if (least > most) fail<ValueError>(Clamp::name, ": no ", x.dtype(), " is between ", low, " and ", high);
    return record(Clamp{{{least, most}}}, {x});
  }
  return record(Clamp{{{low, high}}}, {x});
}

}  // namespace bobbin
