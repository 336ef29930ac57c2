// A cache of freed memory blocks, by size.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

namespace bobbin {

/// The rounded size of a block. Between two powers of two there are sixteen sizes, so that a cached block
/// serves many requests and at most a sixteenth of it is wasted.
struct SizeClass {
  static constexpr std::size_t in_power = 16;
  std::size_t index, bytes;
  SizeClass(std::size_t wanted, std::size_t smallest_step) {
    const std::size_t power = std::bit_floor(std::max<std::size_t>(wanted - 1, 256));
    const std::size_t step = std::max<std::size_t>(power / in_power, smallest_step),
                      steps = (wanted + step - 1) / step;
    bytes = steps * step;
    index = static_cast<std::size_t>(std::countr_zero(power)) * in_power + steps;
  }
  static constexpr std::size_t count = 64 * in_power + 2 * in_power + 1;
};

/// Lists of free blocks, one list per size.
class BlockCache {
 public:
  /// Removes a block of this size and returns it; null if there is none.
  void* take(const SizeClass& block) {
    auto& list = lists_[block.index];
    if (list.empty()) return nullptr;
    void* p = list.back();
    list.pop_back();
    bytes_ -= block.bytes;
    return p;
  }
  /// Adds a free block. Returns false if there is no memory for the list.
  bool put(const SizeClass& block, void* p) noexcept {
    try {
      lists_[block.index].push_back(p);
    } catch (const std::bad_alloc&) {
      return false;
    }
    bytes_ += block.bytes;
    return true;
  }
  /// Calls f(block) for each block, and removes all blocks.
  template<class F>
  void drain(F&& f) {
    for (auto& list : lists_) {
      for (void* p : list) f(p);
      list.clear();
    }
    bytes_ = 0;
  }
  /// Moves all blocks of another cache to this one.
  void absorb(BlockCache& other) {
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      lists_[i].insert(lists_[i].end(), other.lists_[i].begin(), other.lists_[i].end());
      other.lists_[i].clear();
    }
    bytes_ += std::exchange(other.bytes_, 0);
  }
  std::size_t bytes() const { return bytes_; }

  /// Whether to cache blocks: not with BOBBIN_CACHE=0, so that memory checkers see every allocation.
  static bool wanted() {
    const char* v = std::getenv("BOBBIN_CACHE");
    return !v || std::string_view(v) != "0";
  }

 private:
  std::array<std::vector<void*>, SizeClass::count> lists_;
  std::size_t bytes_ = 0;
};

}  // namespace bobbin
