// The one list of all operations. Tests and the gradient checker enumerate it.
#include <bobbin/ops.h>

#include <algorithm>

#include "ops/attention/attention.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/unary.h"
#include "ops/index/index.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/elementwise_loss.h"
#include "ops/loss/linear_cross_entropy.h"
#include "ops/matmul/linear.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/batch_norm.h"
#include "ops/norm/row_norm.h"
#include "ops/pool/pool.h"
#include "ops/random/dropout.h"
#include "ops/random/random_affine.h"
#include "ops/reduce/cumsum.h"
#include "ops/reduce/reduce.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax.h"
#include "ops/view/concat.h"
#include "ops/view/pad.h"
#include "ops/view/to_device.h"
#include "ops/view/view.h"

namespace bobbin {
namespace {

// Functions that are composed of other operations, and are checked like one.
constexpr OpInfo composites[] = {{"nll_loss", true, true, &nll_loss_samples}};

template<Operator... T>
void add(std::vector<OpInfo>& ops) {
  (ops.push_back(op_info<T>()), ...);
}

std::vector<OpInfo> builtin_ops() {
  std::vector<OpInfo> ops;
#define BOBBIN_ADD(Kind, Op) add<Op>(ops);
  BOBBIN_UNARY_OPS(BOBBIN_ADD)
  BOBBIN_ACTIVATION_OPS(BOBBIN_ADD)
  BOBBIN_BACKWARD_OPS(BOBBIN_ADD)
#define BOBBIN_ADD_BACKWARD(Kind, Op) add<Backward<Op>>(ops);
  BOBBIN_SMOOTH_OPS(BOBBIN_ADD_BACKWARD)
#undef BOBBIN_ADD_BACKWARD
  BOBBIN_BINARY_OPS(BOBBIN_ADD)
  BOBBIN_COMPARISON_OPS(BOBBIN_ADD)
  // choice and conversion
  add<Where, ToDType, ToDevice>(ops);
  // products and layers
  add<Matmul, Linear, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, MaxPool2d, MaxPool2dBackward, AvgPool2d,
      AvgPool2dBackward, BatchNorm, LayerNorm, RmsNorm, GroupNorm, Attention>(ops);
  // the softmax family and losses
  add<Softmax, SoftmaxBackward, MaskedSoftmax, LogSoftmax, LogSoftmaxBackward, CrossEntropy,
      CrossEntropyBackward, LinearCrossEntropy>(ops);
  BOBBIN_LOSS_OPS(BOBBIN_ADD)
#undef BOBBIN_ADD
  // reductions
  add<Sum, Mean, Var, Deviation, Std, Max, Min, AMax, AMin, ArgMax, ArgMin, LogSumExp, Norm, CumSum>(ops);
  // views
  add<Reshape, Permute, Slice, Expand>(ops);
  // joining, indexing, random numbers
  add<Concat, Pad, IndexSelect, IndexAdd, Gather, ScatterAdd, OneHot, Dropout, RandomAffine>(ops);
  ops.insert(ops.end(), std::begin(composites), std::end(composites));
  return ops;
}

std::vector<OpInfo>& added() {
  static std::vector<OpInfo> ops;
  return ops;
}

}  // namespace

std::vector<OpInfo> all_ops() {
  auto ops = builtin_ops();
  ops.insert(ops.end(), added().begin(), added().end());
  return ops;
}

void register_op(OpInfo info) {
  const auto ops = all_ops();
  if (std::any_of(ops.begin(), ops.end(), [&](auto& op) { return op.name == info.name; }))
    fail<ValueError>("register_op: '", info.name, "' is taken; choose another name");
  added().push_back(info);
}

}  // namespace bobbin
