// Tally: counts losses and right answers on the device of the model.
#pragma once
#include <bobbin/distributed.h>
#include <bobbin/ops.h>

#include "mnist_pictures.h"

/// Sums of losses, right answers and images over batches, on the device of the model. Reading them waits for
/// a GPU.
class Tally {
 public:
  explicit Tally(bobbin::Device device) : sums_(bobbin::zeros({3}, bobbin::DType::f64, device)) {}

  void add(const bobbin::Tensor& mean_loss, const bobbin::Tensor& predicted, const bobbin::Tensor& labels) {
    using namespace bobbin;
    const Tensor n = full({}, static_cast<double>(labels.numel()), DType::f64, labels.device());
    const Tensor right = to(sum(eq(predicted, labels)), DType::f64);
    sums_.copy_(sums_ + stack({to(mean_loss, DType::f64) * n, right, n}));
  }
  void clear() { sums_.fill_(0); }
  /// Of all ranks together; each rank calls it.
  Score score_of_all(const bobbin::dist::Group& group, double epoch = 0) {
    Tally all = *this;
    all.sums_ = group.all_reduce(sums_, "tally");
    return all.score(epoch);
  }

  Score score(double epoch = 0) const {
    const auto v = sums_.to_vector<double>();
    return {epoch, v[0] / v[2], 100 * v[1] / v[2]};
  }
  std::int64_t correct() const { return static_cast<std::int64_t>(sums_.at({1})); }

 private:
  bobbin::Tensor sums_;  // of losses, right answers and images
};
