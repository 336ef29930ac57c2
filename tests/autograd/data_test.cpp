// Data sets and loaders: every example once, the same batches again from the same seed.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numbers>
#include <set>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

using Data = tests::TemporaryDirectory;

TensorDataset numbers(std::int64_t n) { return TensorDataset({arange(n), arange(n) * 10}); }

std::vector<std::vector<std::int64_t>> epoch_of(DataLoader& loader) {
  std::vector<std::vector<std::int64_t>> out;
  for (auto& batch : loader) {
    out.push_back(batch[0].to_vector<std::int64_t>());
    EXPECT_EQ((batch[0] * 10).to_vector<std::int64_t>(), batch[1].to_vector<std::int64_t>());
  }
  return out;
}

TEST_F(Data, ALoaderGivesEachExampleOnceAnEpoch) {
  for (const int prefetch : {0, 1, 3}) {
    DataLoader loader(numbers(23), {.batch_size = 5, .seed = 4, .prefetch = prefetch});
    EXPECT_EQ(loader.batches(), 5);
    const auto first = epoch_of(loader), second = epoch_of(loader);
    ASSERT_EQ(first.size(), 5U);
    EXPECT_EQ(first[4].size(), 3U);
    std::set<std::int64_t> seen;
    for (auto& b : first) seen.insert(b.begin(), b.end());
    EXPECT_EQ(seen.size(), 23U);
    EXPECT_NE(first, second);
    DataLoader again(numbers(23), {.batch_size = 5, .seed = 4, .prefetch = 2});
    again.epoch = 1;
    EXPECT_EQ(epoch_of(again), second);
  }
  DataLoader inorder(numbers(7), {.batch_size = 3, .shuffle = false, .drop_last = true});
  EXPECT_THAT(epoch_of(inorder), ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4, 5)));
  EXPECT_THROW(DataLoader(numbers(3), {.batch_size = 0}), ValueError);
}

// As large as the type allows, the batch is the whole data set; and an epoch whose first batch throws does
// not count.
TEST_F(Data, ABatchMayBeLargerThanTheData) {
  for (const int prefetch : {0, 2})
    for (const std::int64_t size : {std::int64_t{5}, std::int64_t{6}, std::int64_t{1} << 62, INT64_MAX}) {
      DataLoader loader(numbers(5), {.batch_size = size, .shuffle = false, .prefetch = prefetch});
      EXPECT_EQ(loader.batches(), 1) << size;
      EXPECT_THAT(epoch_of(loader), ElementsAre(ElementsAre(0, 1, 2, 3, 4))) << size;
      DataLoader dropping(numbers(5), {.batch_size = size, .drop_last = true, .prefetch = prefetch});
      EXPECT_EQ(dropping.batches(), size == 5 ? 1 : 0) << size;
    }
  const auto broken = transformed(std::make_shared<TensorDataset>(numbers(9)),
                                  [](const Batch&) -> Batch { fail<ValueError>("broken"); });
  for (const int prefetch : {0, 2}) {
    DataLoader loader(broken, {.batch_size = 3, .prefetch = prefetch});
    EXPECT_THROW(loader.begin(), ValueError);
    EXPECT_EQ(loader.epoch, 0);
  }
}

TEST_F(Data, WhatTransformsDrawDependsOnTheBatchAlone) {
  const auto noisy = transformed(std::make_shared<TensorDataset>(numbers(12)), [](Batch b) {
    b.push_back(randint(0, 1000, {b[0].numel()}));
    return b;
  });
  const auto drawn = [&](int prefetch) {
    std::vector<std::int64_t> out;
    manual_seed(static_cast<std::uint64_t>(prefetch));
    DataLoader loader(noisy, {.batch_size = 5, .seed = 8, .prefetch = prefetch});
    for (int e = 0; e < 2; ++e)
      for (auto& b : loader)
        for (const auto v : b[2].to_vector<std::int64_t>()) out.push_back(v);
    EXPECT_EQ(default_generator().draws, 0U);
    return out;
  };
  const auto one = drawn(0);
  EXPECT_EQ(one, drawn(2));
  EXPECT_GT(std::set(one.begin(), one.end()).size(), 15U);
}

TEST_F(Data, ALoopMayEndEarlyAndErrorsArrive) {
  DataLoader loader(numbers(1000), {.batch_size = 1});
  for (auto& batch : loader)
    if (batch[0].numel() == 1) break;
  const auto broken = transformed(std::make_shared<TensorDataset>(numbers(9)), [](Batch b) -> Batch {
    if (b[0].to_vector<std::int64_t>()[0] >= 6) fail<ValueError>("broken: at 6");
    return b;
  });
  for (const int prefetch : {0, 2}) {
    DataLoader bad(broken, {.batch_size = 3, .shuffle = false, .prefetch = prefetch});
    int got = 0;
    EXPECT_THROW(for ([[maybe_unused]] auto& batch : bad)++ got, ValueError);
    EXPECT_EQ(got, 2);
  }
}

TEST_F(Data, SubsetsAndSplitsPartTheExamples) {
  const auto all = std::make_shared<TensorDataset>(numbers(10));
  const auto [a, b] = random_split(all, .3, 5);
  EXPECT_EQ(a->size(), 3);
  EXPECT_EQ(b->size(), 7);
  std::set<std::int64_t> seen;
  for (const auto& d : {a, b})
    for (const auto v : d->batch(arange(d->size()))[0].to_vector<std::int64_t>()) seen.insert(v);
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_THROW(TensorDataset({arange(2), arange(3)}), ShapeError);
}

TEST_F(Data, ReadsNumbersFromCsv) {
  const Csv csv = read_csv(written("x, y\r\n1,2.5\r\n\"-3\",+4e1\r\n,7\r\n"));
  EXPECT_THAT(csv.columns, ElementsAre("x", "y"));
  EXPECT_EQ(csv.values.shape(), (Shape{3, 2}));
  EXPECT_EQ(csv["y"].to_vector<float>(), (std::vector<float>{2.5, 40, 7}));
  EXPECT_TRUE(std::isnan(csv["x"].to_vector<float>()[2]));
  EXPECT_THROW(csv["z"], ValueError);
  EXPECT_EQ(
      read_csv(written("1;2\n3;4"), {.header = false, .separator = ';', .dtype = DType::f64}).values.dtype(),
      DType::f64);
  for (const auto& [text, what] : {std::pair{"a,b\n1,2\n3,x\n", "record 3: 'x' is no number"},
                                   {"a,b\n1,2,3\n", "record 2: expected 2 fields; got 3"},
                                   {"a\n1e999\n", "out of range"},
                                   {"a\n\"1\n", "record"}})
    try {
      read_csv(written(text));
      ADD_FAILURE() << text;
    } catch (const FormatError& e) {
      EXPECT_THAT(e.what(), HasSubstr(what));
    }
  EXPECT_THROW(read_csv(dir / "none"), IoError);
}

TEST_F(Data, TextComesInWindows) {
  const TextDataset text("hello world", 4);
  EXPECT_EQ(text.size(), 7);
  const Batch b = text.batch(tensor({0, 6}, DType::i64));
  EXPECT_THAT(b[0].to_vector<std::int64_t>(), ElementsAre('h', 'e', 'l', 'l', 'w', 'o', 'r', 'l'));
  EXPECT_THAT(b[1].to_vector<std::int64_t>(), ElementsAre('e', 'l', 'l', 'o', 'o', 'r', 'l', 'd'));
  EXPECT_THROW(TextDataset("abc", 3), ValueError);
}

TEST_F(Data, ImagesLieInFoldersThatAreClasses) {
  for (const char* name : {"cat", "dog"}) {
    fs::create_directories(dir / "pets" / name);
    std::ofstream picture(dir / "pets" / name / "1.ppm", std::ios::binary);
    picture << "P6 6 4 255\n";
    for (int i = 0; i < 6 * 4; ++i) picture << '\xff' << '\0' << (*name == 'd' ? '\xff' : '\0');
  }
  const ImageFolder pets(dir / "pets", 4, 6);
  EXPECT_THAT(pets.classes(), ElementsAre("cat", "dog"));
  const Batch b = pets.batch(tensor({1, 0}, DType::i64));
  EXPECT_EQ(b[0].shape(), (Shape{2, 3, 4, 6}));
  EXPECT_THAT(b[1].to_vector<std::int64_t>(), ElementsAre(1, 0));
  EXPECT_EQ(mean(b[0], {2, 3}).to_vector<float>(), (std::vector<float>{1, 0, 1, 1, 0, 0}));
  EXPECT_EQ(ImageFolder(dir / "pets", 2, 2, 1).batch(arange(1))[0].shape(), (Shape{1, 1, 2, 2}));
  std::ofstream(dir / "pets" / "cat" / "2.png") << "no picture";
  EXPECT_THROW(ImageFolder(dir / "pets", 4, 6).batch(arange(2)), FormatError);
  EXPECT_THROW(ImageFolder(dir / "none", 4, 6), IoError);
}

TEST_F(Data, ShiftsAndFlipsMovePixels) {
  manual_seed(3);
  const Tensor images = reshape(arange(1, 2 * 3 * 4 * 5 + 1, 1, DType::f32), {2, 3, 4, 5});
  EXPECT_EQ(random_shift(images, 0).to_vector<float>(), images.to_vector<float>());
  const Tensor many = expand(slice(images, 0, 0, 1), {200, 3, 4, 5}), moved = random_shift(many, 1, -7);
  // Each is one of nine windows of the framed image, the same for all channels.
  const Tensor framed = pad(slice(images, 0, 0, 1), {{0, 0}, {0, 0}, {1, 1}, {1, 1}}, -7);
  std::set<int> seen;
  for (std::int64_t i = 0; i < 200; ++i) {
    const auto got = slice(moved, 0, i, i + 1).to_vector<float>();
    for (int dy = 0; dy < 3; ++dy)
      for (int dx = 0; dx < 3; ++dx)
        if (slice(slice(framed, 2, dy, dy + 4), 3, dx, dx + 5).to_vector<float>() == got)
          seen.insert(dy * 3 + dx);
  }
  EXPECT_EQ(seen.size(), 9U);
  EXPECT_EQ(random_flip(images, 0).to_vector<float>(), images.to_vector<float>());
  EXPECT_EQ(slice(random_flip(images, 1), 3, 0, 1).to_vector<float>(),
            slice(images, 3, 4, 5).to_vector<float>());
}

// The values of an image that increase by 1 per pixel do so after a rotation too, in a rotated direction,
// except at elements from outside the image.
TEST_F(Data, RotationsTurnPixels) {
  manual_seed(4);
  const Tensor ramp = expand(reshape(arange(0, 9, 1, DType::f64), {1, 1, 1, 9}), {50, 2, 9, 9});
  EXPECT_EQ(random_rotation(ramp, 0).to_vector<double>(), ramp.to_vector<double>());
  const Tensor turned = random_rotation(ramp, 30, -5);
  std::set<double> angles;
  for (std::int64_t i = 0; i < 50; ++i)
    for (std::int64_t channel = 0; channel < 2; ++channel) {
      const Tensor image = select(select(turned, 0, i), 0, channel);
      const auto at = [&](std::int64_t y, std::int64_t x) {
        return select(select(image, 0, y), 0, x).item();
      };
      EXPECT_NEAR(at(4, 4), 4, 1e-12);
      const double along = at(4, 5) - at(4, 4), down = at(5, 4) - at(4, 4);
      EXPECT_NEAR(along * along + down * down, 1, 1e-12);
      angles.insert(std::round(std::atan2(down, along) * 180 / std::numbers::pi));
    }
  EXPECT_GE(*angles.begin(), -30);
  EXPECT_LE(*angles.rbegin(), 30);
  EXPECT_GT(angles.size(), 15U);
  EXPECT_THROW(random_rotation(ramp, 181), ValueError);
}

}  // namespace
