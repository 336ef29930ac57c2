// Tests masked softmax on a GPU against softmax on the CPU, in f64, of a copy whose hidden elements are -inf;
// row lengths for every algorithm.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>

using namespace bobbin;

namespace {

const Device gpu = Device::cuda();

class CudaMaskedSoftmax : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    std::string why;
    if (!cuda_available(&why)) GTEST_SKIP() << why;
    manual_seed(static_cast<std::uint64_t>(GetParam()));
    poison_allocations(true);
  }
  void TearDown() override { poison_allocations(false); }

  static void check(const Tensor& x, const Tensor& mask, bool causal) {
    const Tensor hidden = full({}, -std::numeric_limits<double>::infinity(), DType::f64);
    Tensor seen = to(x, DType::f64);
    if (mask) seen = where(mask, seen, hidden);
    if (causal) {
      const Tensor row = unsqueeze(arange(x.size(-2)), 1), column = unsqueeze(arange(x.size(-1)), 0);
      seen = where(row >= column, seen, hidden);
    }
    const Tensor exact = softmax(seen);
    const Tensor y = masked_softmax(to(x, gpu), mask ? to(mask, gpu) : mask, causal);
    const Tensor off = abs(to(to(y, Device::cpu()), DType::f64) - exact);
    const double digits = x.dtype() == DType::f64 ? 0x1p-46 : x.dtype() == DType::f32 ? 0x1p-20 : 0x1p-8;
    std::ostringstream what;
    what << x.spec() << (mask ? " mask " : "") << (causal ? " causal" : "");
    EXPECT_EQ(sum(to(off > exact * digits + 0x1p-24 * digits, DType::i64)).item(), 0) << what.str();
    EXPECT_EQ(y.spec().shape, x.shape());
  }
};

}  // namespace

TEST_P(CudaMaskedSoftmax, IsSoftmaxOfWhatIsLeft) {
  const std::int64_t n = GetParam();
  for (const DType t : {DType::f32, DType::bf16, DType::f64}) {
    const Tensor x = to(randn({2, 3, n}) * 3, t);
    const auto some = [n](const Shape& rows) {  // and always the last column
      Shape shape = rows;
      shape.push_back(n);
      Tensor mask = to(bernoulli(shape, 0.5), DType::boolean);
      narrow(mask, -1, n - 1, 1).fill_(1);
      return mask;
    };
    check(x, some({2, 3}), false);
    check(x, some({3}), false);
    check(x, some({2, 1}), false);
    check(x, some({}), false);
    check(x, {}, true);
    check(x, full({3, n}, 1, DType::boolean), true);
    check(x, full({3, 1}, 1, DType::boolean), false);
    check(to(randn({n < 200 ? n : 5, n}), t), {}, true);
    if (n > 100) continue;
    const Tensor many = to(randn({1000, 3, n}) * 3, t);  // rows
    check(many, some({1000, 3}), false);
    check(many, {}, true);
  }
}

TEST_P(CudaMaskedSoftmax, ReadsARowsMaskWhereItLies) {
  const std::int64_t n = GetParam();
  const Tensor x = randn({4, n}), wide = to(bernoulli({4, n + 5}, 0.5), DType::boolean);
  narrow(wide, 1, 3, 1).fill_(1);
  check(x, narrow(wide, 1, 3, n), false);
  const Tensor tall = to(bernoulli({n, 4}, 0.5), DType::boolean);
  narrow(tall, 0, 0, 1).fill_(1);
  check(x, transpose(tall), false);
}

INSTANTIATE_TEST_SUITE_P(Columns, CudaMaskedSoftmax,
                         testing::Values(1, 3, 16, 33, 64, 100, 513, 1000, 1024, 3000, 4096, 20000, 40004,
                                         270001));
