// from_blob: tensors in the caller's memory, which Bobbin reads and edits but never frees or caches.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

using namespace bobbin;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

TEST(FromBlob, ReadsAndEditsTheCallersMemory) {
  std::vector<float> memory{1, 2, 3, 4, 5, 6};
  Tensor t = from_blob(memory.data(), {{2, 3}, DType::f32, {}}, nullptr);
  EXPECT_EQ(t.raw(), memory.data());
  EXPECT_EQ(t.at({1, 0}), 4);
  memory[3] = 40;
  EXPECT_EQ(sum(t).item(), 1 + 2 + 3 + 40 + 5 + 6);
  t.fill_(7);
  EXPECT_EQ(memory, std::vector<float>(6, 7));
}

// The block would serve the next tensor of its size, and be freed with the cache.
TEST(FromBlob, WithoutAnOwnerNeverEntersTheCache) {
  const auto before = allocator().stats();
  for (const std::int64_t n : {1, 16, 100, 5000}) {
    std::vector<double> memory(static_cast<std::size_t>(n), 3);
    for (int i = 0; i < 3; ++i) {
      const Tensor t = from_blob(memory.data(), {{n}, DType::f64, {}}, nullptr);
      const Tensor view = t.alias({1}, {1}, n - 1);
      EXPECT_EQ(view.item(), 3);
    }
    std::vector<Tensor> others;
    for (int i = 0; i < 20; ++i) {
      others.push_back(zeros({n}, DType::f64));
      EXPECT_NE(others.back().raw(), memory.data());
    }
    EXPECT_EQ(memory, std::vector<double>(static_cast<std::size_t>(n), 3));
  }
  std::array<int, 8> on_stack{};
  { const Tensor t = from_blob(on_stack.data(), {{8}, DType::i32, {}}, nullptr); }
  allocator().release_cached();  // frees what is cached
  EXPECT_EQ(allocator().stats().bytes_live, before.bytes_live);
}

TEST(FromBlob, KeepsItsOwnerAsLongAsAnyTensorUsesTheMemory) {
  auto owner = std::make_shared<std::vector<float>>(4, 2.f);
  const std::weak_ptr<std::vector<float>> alive = owner;
  Tensor view, y;
  const Tensor w = full({4}, 3).set_requires_grad();
  {
    float* const data = owner->data();
    const Tensor t = from_blob(data, {{4}, DType::f32, {}}, std::move(owner));
    view = t.alias({2}, {1}, 2);
    y = sum(t * w);  // the tape keeps t
  }
  view = Tensor();
  EXPECT_FALSE(alive.expired());
  backward(y);
  EXPECT_TRUE(alive.expired());
  EXPECT_EQ(w.grad().to_vector<float>(), std::vector<float>(4, 2));
}

TEST(FromBlob, GivesResultsOfAnyAlignmentOfItsElements) {
  const Tensor x = randn({7, 33}), w = randn({33, 5});
  const auto same = [&](const Tensor& y) {
    EXPECT_EQ(exp(y).to_vector<float>(), exp(x).to_vector<float>());
    EXPECT_EQ(softmax(y, 1).to_vector<float>(), softmax(x, 1).to_vector<float>());
    const auto a = matmul(y, w).to_vector<float>(), b = matmul(x, w).to_vector<float>();
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4);
    EXPECT_NEAR(sum(y).item(), sum(x).item(), 1e-3);
  };
  const auto values = x.to_vector<float>();
  std::vector<float> memory(values.size() + 16);
  for (std::size_t shift = 0; shift < 16; ++shift) {
    std::ranges::copy(values, memory.begin() + static_cast<std::ptrdiff_t>(shift));
    same(from_blob(memory.data() + shift, x.spec(), nullptr));
  }
}

TEST(FromBlob, TakesNothingWhereThereAreNoElements) {
  const Tensor t = from_blob(nullptr, {{0, 3}, DType::f32, {}}, nullptr);
  EXPECT_EQ(t.numel(), 0);
  EXPECT_TRUE(t.to_vector<float>().empty());
  EXPECT_EQ(concat(std::vector{t, ones({2, 3})}, 0).size(0), 2);
}

TEST(FromBlob, RefusesWhatCannotBe) {
  std::array<double, 4> memory{};
  auto* const bytes = reinterpret_cast<char*>(memory.data());
  EXPECT_THAT(
      [&] {
        from_blob(bytes + 4, {{2}, DType::f64, {}}, nullptr);
      },
      ThrowsMessage<ValueError>("from_blob: f64[2] is not aligned to its elements; copy it"));
  EXPECT_THAT(
      [&] {
        from_blob(bytes + 1, {{2}, DType::bf16, {}}, nullptr);
      },
      ThrowsMessage<ValueError>(HasSubstr("aligned")));
  EXPECT_NO_THROW(from_blob(bytes + 1, {{2}, DType::u8, {}}, nullptr));
  EXPECT_THAT(
      [] {
        from_blob(nullptr, {{}, DType::f32, {}}, nullptr);
      },
      ThrowsMessage<ValueError>("from_blob: the memory of f32[] is null"));
  EXPECT_THROW(from_blob(bytes, {{2, -1}, DType::f32, {}}, nullptr), ShapeError);
  EXPECT_THROW(from_blob(bytes, {{2}, DType::f32, Device::cuda()}, nullptr), DeviceError);
  for (const std::int64_t n : {std::int64_t{1} << 60, std::numeric_limits<std::int64_t>::max()})
    EXPECT_THAT(
        [&] {
          from_blob(bytes, {{n}, DType::f64, {}}, nullptr);
        },
        ThrowsMessage<ValueError>(HasSubstr("more than any memory holds")));
}

}  // namespace
