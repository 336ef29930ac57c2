// Mixed precision: products in a 16-bit type, all other operations in f32.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

using namespace bobbin;

namespace {

TEST(Autocast, RoundsWhatProductsReadAndGivesF32) {
  manual_seed(1);
  const Tensor x = randn({4, 8}), w = randn({8, 3});
  const auto narrow = [](const Tensor& t) { return to(to(t, DType::bf16), DType::f32); };
  const Tensor want = matmul(narrow(x), narrow(w));
  {
    const Autocast scope(DType::bf16);
    const Tensor y = matmul(x, w);
    EXPECT_EQ(y.dtype(), DType::f32);
    EXPECT_EQ(y.to_vector<float>(), want.to_vector<float>());
    EXPECT_EQ(exp(x).to_vector<float>(), [&] {
      const Autocast off(DType::f32);
      return exp(x).to_vector<float>();
    }());
    EXPECT_EQ(matmul(to(x, DType::f64), to(w, DType::f64)).dtype(), DType::f64);
    const Autocast off(DType::f32);
    EXPECT_NE(matmul(x, w).to_vector<float>(), want.to_vector<float>());
  }
  EXPECT_EQ(autocast_dtype(), DType::f32);
  EXPECT_NE(matmul(x, w).to_vector<float>(), matmul(narrow(x), narrow(w)).to_vector<float>());
  EXPECT_THROW(Autocast{DType::i64}, DTypeError);
}

// 300 x 300 and 64 terms of 40 x 40 are no numbers of f16; 4097 is rounded in bf16.
TEST(Autocast, SumsAndTheirBiasStayF32) {
  for (const DType t : {DType::f16, DType::bf16}) {
    const Autocast scope(t);
    EXPECT_EQ(matmul(full({1, 1}, 300), full({1, 1}, 300)).item(), 90000);
    EXPECT_EQ(matmul(full({3, 2, 64}, 40), full({3, 64, 2}, 40)).at({1, 1, 1}), 102400);
    const Tensor x = full({1, 64}, 8), w = full({2, 64}, 1), bias = full({2}, 1e5 + 1);
    EXPECT_EQ(linear(x, w, bias).at({0, 1}), 512 + 1e5 + 1);
    EXPECT_EQ(linear(full({1, 64}, 40), full({2, 64}, 40), bias, Activation::relu).at({0, 0}),
              102400 + 1e5 + 1);
    const Tensor image = full({1, 64, 3, 3}, 40), kernel = full({2, 64, 1, 1}, 40),
                 wide_kernel = full({2, 64, 3, 3}, 40);
    EXPECT_EQ(conv2d(image, kernel, bias).at({0, 1, 2, 2}), 102400 + 1e5 + 1);
    EXPECT_EQ(conv2d(image, wide_kernel, bias).at({0, 1, 0, 0}), 9 * 102400 + 1e5 + 1);
    EXPECT_EQ(conv_transpose2d(full({1, 64, 1, 1}, 40), full({64, 2, 1, 1}, 40), bias).at({0, 1, 0, 0}),
              102400 + 1e5 + 1);
  }
}

// Gradients of factors are those of rounded operands; the bias's is summed in f32.
TEST(Autocast, GradientsOfEveryProduct) {
  manual_seed(8);
  const auto check = [](const std::vector<Tensor>& in, const auto& f) {
    const auto gradients = [&](bool cast) {
      std::vector<Tensor> leaves, out;
      for (const Tensor& x : in)
        leaves.push_back(
            (cast ? x + 0 : to(to(to(x, DType::bf16), DType::f32), DType::f64)).detach().set_requires_grad());
      Tensor y;
      if (cast) {
        const Autocast scope(DType::bf16);
        y = f(leaves);
      } else {
        y = f(leaves);
      }
      EXPECT_EQ(y.dtype(), cast ? DType::f32 : DType::f64);
      return grad(sum(square(y)), leaves);
    };
    const auto got = gradients(true), want = gradients(false);
    for (std::size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(got[i].dtype(), DType::f32);
      const double size = max(abs(want[i])).item();
      EXPECT_LE(max(abs(to(got[i], DType::f64) - want[i])).item(), .02 * size) << "input " << i;
    }
  };
  check({randn({4, 8}), randn({8, 3})}, [](auto& x) { return matmul(x[0], x[1]); });
  for (const Activation a :
       {Activation::none, Activation::relu, Activation::tanh, Activation::gelu, Activation::silu}) {
    check({randn({4, 8}), randn({3, 8}), randn({3})}, [=](auto& x) { return linear(x[0], x[1], x[2], a); });
    check({randn({2, 3, 5, 5}), randn({4, 3, 3, 3}), randn({4})},
          [=](auto& x) { return conv2d(x[0], x[1], x[2], {}, a); });
  }
  check({randn({2, 3, 5, 5}), randn({3, 4, 3, 3}), randn({4})},
        [](auto& x) { return conv_transpose2d(x[0], x[1], x[2]); });
}

TEST(Autocast, CheckpointsComputeAgainInTheSameType) {
  manual_seed(2);
  const Tensor x = randn({4, 8}).set_requires_grad(), w = randn({8, 3}).set_requires_grad();
  const auto f = [](Inputs in) { return tanh(matmul(in[0], in[1])); };
  const auto gradient = [&](bool again) {
    Tensor y;
    {
      const Autocast scope(DType::bf16);
      const Tensor inputs[] = {x, w};
      y = again ? checkpoint(f, inputs) : f(inputs);
    }
    return grad(sum(y), {w})[0].to_vector<float>();
  };
  EXPECT_EQ(gradient(true), gradient(false));
}

// f32 parameters, f16 products, a scaled loss.
TEST(Autocast, TrainsWithAGradScaler) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    manual_seed(3);
    const Tensor x = randn({128, 2}), t = to(gt(select(x, 1, 0) * select(x, 1, 1), zeros({})), DType::i64);
    nn::Sequential model(nn::Linear(2, 32), tanh, nn::Linear(32, 2));
    optim::AdamW adam(nn::parameters(model), {.lr = .02});
    optim::GradScaler scaler;
    double last = 0;
    for (int i = 0; i < 150; ++i) {
      const Tensor loss = [&] {
        const Autocast narrow(dtype);
        return cross_entropy(model(x), t);
      }();
      adam.zero_grad();
      backward(scaler.scale(loss));
      scaler.step(adam);
      last = loss.item();
    }
    EXPECT_EQ(nn::parameters(model)[0].dtype(), DType::f32);
    EXPECT_LT(last, .15) << name(dtype);
  }
}

// Which dtype each operation gives where products give narrow results, and that every leaf's gradient is f32.
TEST(NarrowResults, DTypesOfOperations) {
  manual_seed(4);
  const Tensor x = randn({4, 8}).set_requires_grad(), w = randn({8, 8}).set_requires_grad(),
               b = randn({8}).set_requires_grad(), image = randn({1, 2, 4, 4}), kernel = randn({2, 2, 3, 3});
  for (const DType d : {DType::bf16, DType::f16}) {
    std::vector<Tensor> narrow, wide;
    {
      const Autocast scope(d, ProductResults::narrow);
      const Tensor y = linear(x, w, b);
      narrow = {y,
                matmul(x, w),
                matmul(y, w),
                matmul(y, transpose(y.detach())),
                linear(y, w, b, Activation::gelu),
                conv2d(image, kernel),
                conv_transpose2d(image, kernel),
                gelu(y),
                y + y,
                y * 2,
                where(y > 0, y, y),
                dropout(y, .5),
                reshape(y, {8, 4}),
                concat({y, y}, 0),
                max(y),
                scaled_dot_product_attention(unsqueeze(y, 0), unsqueeze(y, 0), unsqueeze(y, 0))};
      wide = {x + y,
              y * x,
              where(x > 0, y, x),
              concat({y, x}, 0),
              softmax(y),
              log_softmax(y),
              masked_softmax(y, {}),
              layer_norm(y, {8}, b, b),
              rms_norm(y, {8}, b),
              group_norm(y, 2, b, b),
              batch_norm(y, zeros({8}), ones({8}), b, b, {.training = true}),
              sum(y),
              mean(y, {0}),
              var(y),
              std_dev(y),
              logsumexp(y),
              norm(y),
              cumsum(y, 0),
              cross_entropy(y, zeros({4}, DType::i64)),
              nll_loss(log_softmax(y), zeros({4}, DType::i64)),
              linear_cross_entropy(y, w, zeros({4}, DType::i64)),
              mse_loss(y, x),
              exp(x)};
    }
    for (std::size_t i = 0; i < narrow.size(); ++i) EXPECT_EQ(narrow[i].dtype(), d) << i;
    for (std::size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(wide[i].dtype(), DType::f32) << i;
    for (const auto& results : {narrow, wide})
      for (const Tensor& y : results) {
        if (!y.requires_grad()) continue;
        backward(y, ones_like(y.detach()), Retain::yes);  // the scope has ended
        for (const Tensor& leaf : {x, w, b}) {
          if (!leaf.grad()) continue;
          EXPECT_EQ(leaf.grad().dtype(), DType::f32);
        }
      }
  }
  EXPECT_THROW(x + to(x, DType::bf16), DTypeError) << "no scope, no promotion";
}

// The result of a product is rounded once, from its f32 sum and bias.
TEST(NarrowResults, AreRoundedSums) {
  manual_seed(5);
  const Tensor x = randn({6, 40}), w = randn({5, 40}), b = to(to(randn({5}), DType::bf16), DType::f32);
  Tensor sums, narrow;
  {
    const Autocast scope(DType::bf16);
    sums = linear(x, w, b);
    const Autocast inner(DType::bf16, ProductResults::narrow);
    narrow = linear(x, w, b);
  }
  EXPECT_EQ(narrow.to_vector<double>(), to(sums, DType::bf16).to_vector<double>());
  EXPECT_EQ(autocast_results(), ProductResults::f32);
}

// A backward pass gives the same inside the scope and after it, and through a checkpoint.
TEST(NarrowResults, BackwardInsideTheScopeAndThroughACheckpoint) {
  manual_seed(6);
  const Tensor x = randn({4, 8}), w = randn({8, 8}).set_requires_grad(), g = randn({8}).set_requires_grad();
  const auto f = [](Inputs in) { return layer_norm(gelu(matmul(in[0], in[1])) + in[0], {8}, in[2], {}); };
  const auto gradients = [&](bool inside, bool again) {
    std::vector<Tensor> grads;
    Tensor y;
    const auto differentiate = [&] { grads = grad(sum(square(y)), {w, g}); };
    {
      const Autocast scope(DType::bf16, ProductResults::narrow);
      const Tensor inputs[] = {x, w, g};
      y = again ? checkpoint(f, inputs) : f(inputs);
      if (inside) differentiate();
    }
    if (!inside) differentiate();
    return std::pair(grads[0].to_vector<float>(), grads[1].to_vector<float>());
  };
  const auto want = gradients(false, false);
  EXPECT_EQ(gradients(true, false), want);
  EXPECT_EQ(gradients(false, true), want);
}

// Beside f32 factors, products take those of the scope's dtype.
TEST(Autocast, TakesFactorsOfItsDType) {
  manual_seed(7);
  const Tensor x = to(randn({4, 8}), DType::bf16), w = randn({8, 3});
  const Autocast scope(DType::bf16);
  EXPECT_EQ(matmul(x, w).dtype(), DType::f32);
  EXPECT_EQ(matmul(x, w).to_vector<float>(), matmul(to(x, DType::f32), w).to_vector<float>());
  EXPECT_EQ(matmul(x, to(w, DType::bf16)).dtype(), DType::bf16);
}

}  // namespace
