// Includes the headers of all operations; the catalogue.
#pragma once
#include <bobbin/attention.h>
#include <bobbin/augment.h>
#include <bobbin/autocast.h>
#include <bobbin/conv.h>
#include <bobbin/dropout.h>
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/loss.h>
#include <bobbin/matmul.h>
#include <bobbin/norm.h>
#include <bobbin/op.h>
#include <bobbin/pool.h>
#include <bobbin/reduce.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

namespace bobbin {

/// The catalogue: every operation of Bobbin, then those added by register_op.
std::vector<OpInfo> all_ops();

/// Adds an entry to the catalogue, for the enumerating tests and the gradient checker.
/// Throws ValueError if the name is taken.
void register_op(OpInfo);
/// Adds T to the catalogue. Throws ValueError if the name is taken.
template<Operator T>
void register_op() {
  register_op(op_info<T>());
}

}  // namespace bobbin
