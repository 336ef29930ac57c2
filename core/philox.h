// The random number generator Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
// as 1, 2, 3" (SC 2011). For CPU and GPU.
#pragma once
#include <bobbin/dtype.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace bobbin {

/// One draw: a pseudo-random function of a block number.
struct Philox {
  std::uint64_t seed, draw;

  struct Block {
    std::uint32_t v[4];
    BOBBIN_HD std::uint64_t double_word(int i) const { return std::uint64_t{v[2 * i + 1]} << 32 | v[2 * i]; }
  };
  /// Block number `index` of the draw: four independent 32-bit words.
  BOBBIN_HD Block operator()(std::uint64_t index) const {
    std::uint32_t c0 = static_cast<std::uint32_t>(index), c1 = static_cast<std::uint32_t>(index >> 32);
    std::uint32_t c2 = static_cast<std::uint32_t>(draw), c3 = static_cast<std::uint32_t>(draw >> 32);
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0, p1 = std::uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<std::uint32_t>(p1);
      c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<std::uint32_t>(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
  }
  /// 32-bit word i, or 64-bit word i, of the sequence of all blocks.
  BOBBIN_HD std::uint32_t word(std::uint64_t i) const { return (*this)(i / 4).v[i % 4]; }
  BOBBIN_HD std::uint64_t word64(std::uint64_t i) const {
    return (*this)(i / 2).double_word(static_cast<int>(i % 2));
  }
  /// 32 more bits for element i, of a draw that no generator reaches.
  BOBBIN_HD std::uint32_t further_word(std::uint64_t i) const { return Philox{seed, ~draw}.word(i); }
};

/// A probability p as a multiple of 2^-64, which rounds it up by less than that: p 2^64 = whole 2^32 + rest.
/// An event happens if the 64 bits of word and further word are below it. The further word counts only if
/// word equals `whole`, once in 2^32 times, and is not drawn otherwise.
struct Chance {
  std::uint32_t whole;
  std::uint64_t rest;  ///< up to 2^32, where p is 1

  explicit Chance(double p) {
    const double scaled = p * 0x1p32;
    whole = scaled < 0x1p32 ? static_cast<std::uint32_t>(scaled) : 0xffffffffu;
    rest = static_cast<std::uint64_t>(std::ceil((scaled - whole) * 0x1p32));
  }
  /// Whether the event of element i happens, whose word is `word`.
  BOBBIN_HD bool happens(std::uint32_t word, const Philox& philox, std::uint64_t i) const {
    return word < whole || (word == whole && philox.further_word(i) < rest);
  }
};

/// Uniform on [0, 1): a multiple of 2^-24 from 32 bits, and of 2^-53 from 64.
BOBBIN_HD inline float to_unit(std::uint32_t w) { return static_cast<float>(w >> 8) * 0x1p-24f; }
BOBBIN_HD inline double to_unit(std::uint64_t w) { return static_cast<double>(w >> 11) * 0x1p-53; }

/// Maps a number of [0, 1) to [low, high). If high - low has no T, the numbers are formed at half their size.
template<class T>
struct Interval {
  T low, width, factor;
  Interval(double from, double to) : low(static_cast<T>(from)), width(static_cast<T>(to - from)), factor(1) {
    if (width <= std::numeric_limits<T>::max()) return;
    low = static_cast<T>(from / 2);
    width = static_cast<T>(to / 2 - from / 2);
    factor = 2;
  }
  /// std::fma rounds once. Some compilers would fuse a product and a sum, and others would not.
  BOBBIN_HD T operator()(T unit) const { return std::fma(width, unit, low) * factor; }
};

}  // namespace bobbin
