// A tile of a matrix in shared memory, and how the threads of a block copy it there.
#pragma once
#include "core/cuda/pack.cuh"

namespace bobbin::cuda::tiles {

/// rows x columns elements in shared memory, which begin at a multiple of 1024 bytes. Panels of 128 bytes of
/// each row follow one another. Within a row of a panel, the chunk of 16 bytes with index c lies at c ^ (row
/// % 8), so that neither a row nor a column of chunks meets a bank twice: the swizzle of 128 bytes of the PTX
/// ISA, which wgmma reads too.
template<class T_, int rows_, int columns_>
struct Tile {
  using T = T_;
  static constexpr int rows = rows_, columns = columns_;
  static constexpr int chunk = 16 / sizeof(T),
                       chunks = columns / chunk;  ///< elements in one, and chunks in a row
  static constexpr int bytes = rows * columns * sizeof(T);
  char* data;

  __device__ explicit Tile(char* p) : data(p) {}
  __device__ char* at(int row, int c) const {
    return data + c / 8 * rows * 128 + row * 128 + ((c ^ row) % 8) * 16;
  }
};

/// Starts to copy a tile that lies in global memory as it is, by all threads of the block, without another
/// test.
template<int threads, class T, int rows, int columns, int i = 0>
__device__ __forceinline__ void copy_whole(unsigned to, const void* from) {
  using To = Tile<T, rows, columns>;
  static_assert(threads % (8 * To::chunks) == 0 && rows * To::chunks % threads == 0);
  if constexpr (i < rows * To::chunks) {
    ptx::cp_async_cg_16<i / To::chunks * 128, i * 16>(to, from);
    copy_whole<threads, T, rows, columns, i + threads>(to, from);
  }
}

/// Starts to copy `rows` x `columns` elements, row-major in global memory, into the tile's upper left corner,
/// by all threads of the block; the rest of the tile becomes 0. `whole`: the rows are whole numbers of
/// aligned chunks, and the copies are asynchronous.
template<int threads, class T, int tile_rows, int tile_columns>
__device__ __forceinline__ void copy(const Tile<T, tile_rows, tile_columns>& to, const T* from, int rows,
                                     int columns, bool whole) {
  using To = Tile<T, tile_rows, tile_columns>;
  const int thread = static_cast<int>(threadIdx.x);
  if (whole && rows >= tile_rows && columns == tile_columns) {
    copy_whole<threads, T, tile_rows, tile_columns>(
        ptx::shared_address(to.at(thread / To::chunks, thread % To::chunks)), from + thread * To::chunk);
    return;
  }
#pragma unroll 1
  for (int i = thread; i < tile_rows * To::chunks; i += threads) {
    const int row = i / To::chunks, c = i % To::chunks, column = c * To::chunk;
    const T* source = from + static_cast<std::int64_t>(row) * columns + column;
    if (whole) {
      const bool there = row < rows && column < columns;
      ptx::cp_async_cg_16(to.at(row, c), there ? source : from, there);
    } else {
      Pack<T> v;
#pragma unroll
      for (int k = 0; k < To::chunk; ++k) v.v[k] = row < rows && column + k < columns ? source[k] : T();
      *reinterpret_cast<Pack<T>*>(to.at(row, c)) = v;
    }
  }
}

}  // namespace bobbin::cuda::tiles
