// Copies between strides and dtypes on a GPU: rows that consist of packs of 16 bytes, and rows that do not.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaCopy = SeededCuda<17>;

const std::vector<DType> all{DType::f64, DType::f32, DType::bf16, DType::f16,
                             DType::i64, DType::i32, DType::u8};

// Rows of `columns` elements whose axes are exchanged, out of rows of `pitch`, beginning `offset` elements
// into memory.
Tensor rows(const Tensor& memory, std::int64_t columns, std::int64_t pitch, std::int64_t offset) {
  const Tensor all_rows = reshape(narrow(memory, 0, offset, 3 * 5 * 2 * pitch), {3, 5, 2, pitch});
  return permute(narrow(all_rows, 3, 0, columns), {2, 0, 1, 3});
}

TEST_F(CudaCopy, OfRowsOfAnyLengthPitchAndPlace) {
  for (const DType from : all)
    for (const auto& [columns, pitch, offset] : std::vector<std::array<std::int64_t, 3>>{{16, 16, 0},
                                                                                         {16, 48, 0},
                                                                                         {64, 64, 0},
                                                                                         {8, 24, 0},
                                                                                         {16, 24, 1},
                                                                                         {16, 17, 0},
                                                                                         {17, 32, 0},
                                                                                         {1, 16, 0},
                                                                                         {4, 8, 0},
                                                                                         {2, 2, 2}}) {
      const Tensor memory = to(randint(0, 100, {3 * 5 * 2 * pitch + offset}), from),
                   here = rows(memory, columns, pitch, offset),
                   there = rows(to(memory, gpu), columns, pitch, offset);
      const auto want = here.to_vector<double>();
      for (const DType type : all) {
        SCOPED_TRACE(testing::Message() << from << " to " << type << ", rows of " << columns << " in "
                                        << pitch << " from " << offset);
        EXPECT_EQ(to(to(there, type), Device::cpu()).to_vector<double>(), want);  // row-major
        // Into rows of the same strides, whose neighbours stay.
        const Tensor room = full({3 * 5 * 2 * pitch + offset}, 7, type, gpu);
        Tensor into = rows(room, columns, pitch, offset);
        into.copy_(there);
        EXPECT_EQ(to(into, Device::cpu()).to_vector<double>(), want);
        Tensor beside = zeros({3 * 5 * 2 * pitch + offset}, type);
        rows(beside, columns, pitch, offset).fill_(1);
        const auto edited = beside.to_vector<double>(), now = to(room, Device::cpu()).to_vector<double>();
        for (std::size_t i = 0; i < now.size(); ++i) {
          if (edited[i] == 0) EXPECT_EQ(now[i], 7) << "beside the rows, at " << i;
        }
      }
    }
}

}  // namespace
