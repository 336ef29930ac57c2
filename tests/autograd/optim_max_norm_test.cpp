// Optimizer::max_norm: the same numbers as clip_grad_norm before the step, and gradients that stay as they
// are.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/autograd/devices.h"
#include "tests/autograd/optim_kinds.h"

using namespace bobbin;
using tests::devices;
using tests::elements;

namespace {

// Two parameters of each dtype, one longer than a task of a thread, with gradients; one is strided.
std::vector<Tensor> parameters(Device device) {
  manual_seed(5);
  std::vector<Tensor> all;
  for (const DType t : {DType::f32, DType::f64})
    for (const Shape& s : {Shape{3, 4}, Shape{3, 7001}}) {
      all.push_back(to(randn(s, t), device).detach().set_requires_grad());
      const Tensor g = to(randn(s, t), device);
      all.back().set_grad(s[1] == 4 ? transpose(contiguous(transpose(g))) : g);
    }
  return all;
}

// f32 to the bit; in f64 the factor may be contracted with the sum that follows it.
TEST(MaxNorm, IsClipGradNormAndAStep) {
  for (const Device d : devices())
    for (const auto& kind : tests::optimizer_kinds())
      for (const double most : {.01, 1., 1e6}) {  // the norm is about 200
        SCOPED_TRACE(testing::Message() << kind.name << " max_norm " << most << (d.is_cuda() ? " GPU" : ""));
        auto clipped = parameters(d), whole = parameters(d);
        const auto a = kind.make(clipped), b = kind.make(whole);
        b->max_norm = most;
        for (int step = 0; step < 3; ++step) {
          const auto fresh = parameters(d);
          for (std::size_t i = 0; i < fresh.size(); ++i) clipped[i].set_grad(fresh[i].grad());
          optim::clip_grad_norm(clipped, most);
          a->step();
          b->step();
        }
        const auto before = parameters(d);
        for (std::size_t i = 0; i < whole.size(); ++i) {
          const auto got = elements(whole[i]), want = elements(clipped[i]);
          if (whole[i].dtype() == DType::f32) EXPECT_EQ(got, want) << i;
          for (std::size_t k = 0; k < got.size(); ++k)
            ASSERT_NEAR(got[k], want[k], 1e-12 * std::max(1., std::abs(want[k]))) << i;
          EXPECT_EQ(elements(whole[i].grad()), elements(before[i].grad())) << i;
        }
      }
}

TEST(MaxNorm, BoundsAStepOfSgd) {
  for (const Device d : devices()) {
    Tensor p = zeros({2}, DType::f64, d).set_requires_grad();
    p.set_grad(tensor({3, 4}, DType::f64, d));
    optim::Sgd sgd({p}, {.lr = 1});
    sgd.max_norm = 1;
    sgd.step();
    EXPECT_NEAR(elements(p)[0], -.6, 1e-15);
    EXPECT_NEAR(elements(p)[1], -.8, 1e-15);
  }
}

TEST(MaxNorm, OutsideItsDomainIsAValueErrorThatChangesNothing) {
  Tensor p = ones({2}).set_requires_grad();
  p.set_grad(ones({2}));
  optim::Adam adam({p});
  for (const double bad : {0., -1., std::numeric_limits<double>::quiet_NaN()}) {
    adam.max_norm = bad;
    EXPECT_THROW(adam.step(), ValueError) << bad;
  }
  EXPECT_EQ(elements(p), std::vector<double>(2, 1));
  EXPECT_EQ(adam.state_dict().at("step").item<std::int64_t>(), 0);
  p.set_grad({});
  adam.max_norm = 1;
  EXPECT_NO_THROW(adam.step()) << "without a gradient";
}

}  // namespace
