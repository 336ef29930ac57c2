// Compares training by several processes with training by one. The processes are forks that already know the
// right bits.
#include "autograd/gradcheck/ranks.h"

#include <bobbin/distributed.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/reduce.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <sstream>

#include "autograd/distributed/engine.h"
#include "autograd/distributed/group_state.h"
#include "autograd/distributed/socket.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr int steps = 3;

// The gradient and the new value of each parameter, after each step.
std::vector<std::vector<Tensor>> trained(const ModelInfo& model, const dist::Group& group,
                                         std::int64_t shards, std::uint64_t seed) {
  const auto data = [&](std::int64_t shard) {
    const GeneratorScope draws({seed, static_cast<std::uint64_t>(shard) << 40});
    return model.make();
  };
  const GeneratorScope draws({seed, 0});
  std::vector<Tensor> parameters;
  for (const Tensor& p : data(0).inputs) {
    parameters.push_back(p.detach());
    if (is_floating(p.dtype())) parameters.back().set_requires_grad();
  }
  dist::Replicas replicas(parameters, {.shards = shards, .bucket_bytes = 100}, {}, group);
  std::vector<std::vector<Tensor>> out;
  for (int step = 0; step < steps; ++step) {
    for (Tensor& p : parameters)
      if (p.requires_grad()) p.set_grad({});
    replicas.backward(
        shards, [&](const dist::Shard& s) { return sum(data(s.index + step * shards).call(parameters)); });
    const NoGrad quiet;
    out.emplace_back();
    for (Tensor& p : parameters) {
      const Tensor g = p.grad();
      if (g) Tensor(p.detach()).copy_(p - g * 0.1);
      out.back().push_back(g ? clone(g) : Tensor());
      out.back().push_back(clone(p.detach()));
    }
  }
  return out;
}

// The first tensor whose bits differ.
std::string difference(const std::vector<std::vector<Tensor>>& right,
                       const std::vector<std::vector<Tensor>>& got, int rank) {
  for (std::size_t step = 0; step < right.size(); ++step)
    for (std::size_t i = 0; i < right[step].size(); ++i) {
      const Tensor &a = right[step][i], &b = got[step][i];
      std::ostringstream out;
      out.imbue(std::locale::classic());
      out << (i % 2 ? "input " : "the gradient of input ") << i / 2 << " after step " << step + 1
          << " on rank " << rank;
      if (!a != !b) return out.str() + (a ? " is missing" : " should not be there");
      if (!a) continue;
      const auto x = a.to_vector<double>(), y = b.to_vector<double>();
      for (std::size_t k = 0; k < x.size(); ++k) {
        const auto bits = [](double v) { return std::bit_cast<std::uint64_t>(v); };
        if (bits(x[k]) == bits(y[k]) || (x[k] != x[k] && y[k] != y[k])) continue;
        out.precision(17);
        out << ", " << a.spec() << " (flat " << k << "): " << y[k] << "; one process has " << x[k];
        return out.str();
      }
    }
  return {};
}

}  // namespace

std::string compare_ranks(const ModelInfo& model, int ranks, std::uint64_t seed) {
  if (ranks < 1 || ranks > 64) fail<ValueError>("gradcheck --ranks: expected 1 to 64; got ", ranks);
  const std::int64_t shards = std::max(8, ranks);
  const auto right = trained(model, dist::Group(), shards, seed);
  const int port = dist::port_of(dist::listen_on(0));  // free a moment later, too
  int ends[2];
  if (pipe(ends) != 0) fail<IoError>("gradcheck --ranks: no pipe: ", std::strerror(errno));
  std::vector<pid_t> processes;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t process = fork();
    if (process < 0) fail<IoError>("gradcheck --ranks: no process: ", std::strerror(errno));
    if (process > 0) {
      processes.push_back(process);
      continue;
    }
    std::string found;
    try {
      const std::string number = std::to_string(port);
      auto state = std::make_shared<dist::detail::GroupState>();
      if (ranks > 1)
        state->transport = dist::tcp_transport(
            {"gradcheck", rank, ranks, rank, false},
            [&](const char* name) {
              return std::string_view(name) == "MASTER_ADDR"   ? "127.0.0.1"
                     : std::string_view(name) == "MASTER_PORT" ? number.c_str()
                                                               : nullptr;
            },
            30);
      state->rank = rank;
      state->size = ranks;
      found = difference(right, trained(model, dist::Group(state), shards, seed), rank);
    } catch (const std::exception& e) {
      found = "rank " + std::to_string(rank) + ": " + e.what();
    }
    if (!found.empty()) found += '\n';
    const bool written = write(ends[1], found.data(), found.size()) == static_cast<ssize_t>(found.size());
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    all.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    waitpid(processes[static_cast<std::size_t>(rank)], &status, 0);
    if (status != 0 && all.empty()) all = "rank " + std::to_string(rank) + " died\n";
  }
  return all.substr(0, all.find('\n'));
}

}  // namespace bobbin::gradcheck_detail
