// What launchers set, and the tree of shards.
#include "autograd/distributed/launch.h"

#include <bobbin/error.h>
#include <gtest/gtest.h>

#include <map>

#include "autograd/distributed/tree.h"

using namespace bobbin;
using dist::Range;

namespace {

auto launch(std::map<std::string, std::string> set) {
  return dist::launch_from([set = std::move(set)](const char* name) {
    const auto it = set.find(name);
    return it == set.end() ? nullptr : it->second.c_str();
  });
}

TEST(Launch, ReadsEachLauncher) {
  const auto expect = [](std::map<std::string, std::string> set, bool mpi) {
    const auto l = launch(std::move(set));
    ASSERT_TRUE(l);
    EXPECT_EQ(l->rank, 3);
    EXPECT_EQ(l->size, 4);
    EXPECT_EQ(l->local_rank, 1);
    EXPECT_EQ(l->mpi, mpi);
  };
  expect({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}},
         true);
  expect({{"PMI_SIZE", "4"}, {"PMI_RANK", "3"}, {"MPI_LOCALRANKID", "1"}}, true);
  expect({{"WORLD_SIZE", "4"}, {"RANK", "3"}, {"LOCAL_RANK", "1"}}, false);
  expect({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "3"}, {"SLURM_LOCALID", "1"}}, true);
  // mpirun within a job of Slurm.
  expect({{"OMPI_COMM_WORLD_SIZE", "4"},
          {"OMPI_COMM_WORLD_RANK", "3"},
          {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
          {"SLURM_NTASKS", "64"},
          {"SLURM_PROCID", "0"},
          {"SLURM_LOCALID", "0"}},
         true);
}

TEST(Launch, WithoutALauncherThereIsNone) {
  EXPECT_FALSE(launch({}));
  EXPECT_FALSE(launch({{"RANK", "0"}}));
}

TEST(Launch, RefusesWhatIsNoNumber) {
  EXPECT_THROW(launch({{"WORLD_SIZE", "four"}, {"RANK", "0"}}), ValueError);
  EXPECT_THROW(launch({{"WORLD_SIZE", "4"}, {"RANK", "-1"}}), ValueError);
  EXPECT_THROW(launch({{"WORLD_SIZE", "4x"}, {"RANK", "0"}}), ValueError);
  EXPECT_THROW(launch({{"WORLD_SIZE", "4"}, {"RANK", "4"}}), ValueError);
}

TEST(Tree, RanksCoverTheShardsWithWholeNodes) {
  EXPECT_EQ(dist::cover(8, {0, 8}), (std::vector<Range>{{0, 8}}));
  EXPECT_EQ(dist::cover(8, {4, 6}), (std::vector<Range>{{4, 6}}));
  EXPECT_EQ(dist::cover(8, {2, 5}), (std::vector<Range>{{2, 4}, {4, 5}}));
  EXPECT_EQ(dist::cover(6, {0, 6}), (std::vector<Range>{{0, 6}}));
  EXPECT_EQ(dist::cover(6, {4, 6}), (std::vector<Range>{{4, 6}}));
  EXPECT_TRUE(dist::cover(8, {3, 3}).empty());
}

// Numbers whose sum depends on the order: each way to divide the shards among ranks gives the bits of the
// tree.
TEST(Tree, TheSumDoesNotDependOnWhoAddsWhichNodes) {
  for (const std::int64_t shards : {1, 2, 3, 5, 7, 8, 13, 16}) {
    const std::int64_t elements = 3000;
    std::vector<std::vector<float>> x;
    for (std::int64_t s = 0; s < shards; ++s) {
      x.emplace_back();
      for (std::int64_t i = 0; i < elements; ++i)
        x.back().push_back(static_cast<float>((s * 7919 + i * 104729) % 10007) / 97.f);
    }
    const auto add = [&](const std::vector<dist::Term>& terms, std::int64_t n) {
      std::vector<float> out(static_cast<std::size_t>(elements));
      dist::add_terms(DType::f32, n, terms, elements, reinterpret_cast<std::byte*>(out.data()));
      return out;
    };
    const auto bytes = [](const std::vector<float>& v) {
      return reinterpret_cast<const std::byte*>(v.data());
    };
    std::vector<dist::Term> leaves;
    for (std::int64_t s = 0; s < shards; ++s)
      leaves.push_back({{s, s + 1}, bytes(x[static_cast<std::size_t>(s)])});
    const auto right = add(leaves, shards);
    for (int size = 1; size <= shards; ++size) {
      std::vector<std::vector<float>> sums;
      std::vector<Range> nodes;
      for (int rank = 0; rank < size; ++rank)
        for (const Range& node : dist::cover(shards, dist::part_of(shards, rank, size))) {
          // The node's own tree is that of a tree of its size, because a right child is a tree from 0 moved.
          std::vector<dist::Term> own;
          for (std::int64_t s = node.first; s < node.last; ++s)
            own.push_back({{s - node.first, s - node.first + 1}, bytes(x[static_cast<std::size_t>(s)])});
          sums.push_back(add(own, node.last - node.first));
          nodes.push_back(node);
        }
      std::vector<dist::Term> terms;
      for (std::size_t i = 0; i < nodes.size(); ++i) terms.push_back({nodes[i], bytes(sums[i])});
      EXPECT_EQ(add(terms, shards), right) << shards << " shards, " << size << " ranks";
    }
  }
}

}  // namespace
