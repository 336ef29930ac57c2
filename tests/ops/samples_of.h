// The samples of all operations as the cases of a parameterized test.
#pragma once
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bobbin::tests {

struct Case {
  OpInfo op;
  std::size_t index;  // of the sample
  std::string label;
  std::uint64_t seed;
};

// Drawn anew for each test, from this seed.
inline std::vector<Sample> samples_of(const OpInfo& op, std::uint64_t seed) {
  manual_seed(seed);
  return op.samples ? op.samples() : std::vector<Sample>();
}
inline Sample sample_of(const Case& c) { return samples_of(c.op, c.seed)[c.index]; }

inline std::vector<Case> cases(std::uint64_t seed, bool (*wanted)(const OpInfo&, const Sample&)) {
  std::vector<Case> out;
  for (auto& op : all_ops()) {
    const auto samples = samples_of(op, seed);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      if (!wanted(op, samples[i])) continue;
      std::string label = std::string(op.name) + "_" + samples[i].note;
      for (char& c : label)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      out.push_back({op, i, label + "_" + std::to_string(i), seed});
    }
  }
  return out;
}

inline bool valid(const OpInfo&, const Sample& s) { return s.throws.empty(); }
inline bool is_invalid(const OpInfo&, const Sample& s) { return !s.throws.empty(); }

inline void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }
inline std::string label_of(const testing::TestParamInfo<Case>& info) { return info.param.label; }

}  // namespace bobbin::tests
