// The collectives of a Group.
#include <bobbin/elementwise.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cstring>

#include "autograd/distributed/group_state.h"

namespace bobbin::dist {
namespace {

// The elements on the CPU, row-major.
Tensor on_host(const Tensor& x) {
  const NoGrad quiet;
  return contiguous(to(x.detach(), Device::cpu()));
}

std::byte* bytes_of(const Tensor& x) { return x.raw<std::byte>(); }

std::size_t size_in_bytes(const Tensor& x) {
  return static_cast<std::size_t>(x.numel() * size_of(x.dtype()));
}

Tensor back(const Tensor& host, Device device) {
  const NoGrad quiet;
  return to(host, device);
}

}  // namespace

Group::Group() : state_(std::make_shared<detail::GroupState>()) {}
Group::Group(std::shared_ptr<detail::GroupState> state) : state_(std::move(state)) {}

int Group::rank() const { return state_->rank; }
int Group::size() const { return state_->size; }
int Group::local_rank() const { return state_->local_rank; }

Tensor Group::all_reduce(const Tensor& x, std::string_view what) const {
  if (size() == 1) return x.detach();
  Call call("all_reduce", what, x.spec());
  state_->begin(call);
  const Tensor host = on_host(x), out = empty(x.shape(), x.dtype());
  state_->reduce(call, x.dtype(), size(), {bytes_of(host)}, x.numel(), bytes_of(out));
  return back(out, x.device());
}

Tensor Group::broadcast(const Tensor& x, int root, std::string_view what) const {
  if (root < 0 || root >= size()) fail<ValueError>("broadcast: no rank is ", root, "; there are ", size());
  if (size() == 1) return x.detach();
  Call call("broadcast", what, x.spec(), root);
  state_->begin(call);
  if (x.numel() == 0) return x.detach();
  const Tensor host = rank() == root ? on_host(x) : empty(x.shape(), x.dtype());
  // In chunks along a tree: rank r of those after the root gets the elements from the rank without r's
  // highest bit.
  const int mine = (rank() - root + size()) % size();
  std::vector<Message> messages;
  const auto peer = [&](int r) { return (r + root) % size(); };
  if (mine != 0) {
    const int from = mine - static_cast<int>(std::bit_floor(static_cast<unsigned>(mine)));
    state_->exchange(call, {{peer(from), bytes_of(host), size_in_bytes(host), false}});
  }
  for (int step = mine == 0 ? 1 : 2 * static_cast<int>(std::bit_floor(static_cast<unsigned>(mine)));
       mine + step < size(); step *= 2)
    messages.push_back({peer(mine + step), bytes_of(host), size_in_bytes(host), true});
  if (!messages.empty()) state_->exchange(call, messages);
  return rank() == root ? x.detach() : back(host, x.device());
}

Tensor Group::all_gather(const Tensor& x, std::string_view what) const {
  if (x.rank() < 1) fail<ShapeError>("all_gather: expected [n, ...]; got ", x.spec(), "; unsqueeze it first");
  if (size() == 1) return x.detach();
  Call call("all_gather", what, x.spec());
  state_->begin(call);
  Shape shape = x.shape();
  shape[0] *= size();
  const Tensor host = on_host(x), out = empty(shape, x.dtype());
  const std::byte* const all = state_->gather(call, bytes_of(host), size_in_bytes(host));
  if (out.numel() > 0) std::memcpy(bytes_of(out), all, size_in_bytes(out));
  return back(out, x.device());
}

Tensor Group::reduce_scatter(const Tensor& x, std::string_view what) const {
  if (x.rank() < 1 || x.size(0) % size() != 0)
    fail<ShapeError>("reduce_scatter: expected ", size(), " n rows for ", size(), " ranks; got ", x.spec());
  if (size() == 1) return x.detach();
  Call call("reduce_scatter", what, x.spec());
  state_->begin(call);
  Shape shape = x.shape();
  shape[0] /= size();
  const Tensor host = on_host(x), out = empty(shape, x.dtype());
  if (out.numel() == 0) return back(out, x.device());
  const std::size_t bytes = size_in_bytes(out);
  std::byte* const in = state_->incoming.get(bytes * static_cast<std::size_t>(size()));
  std::vector<Message> messages;
  std::vector<Term> terms;
  for (int peer = 0; peer < size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    std::byte* const theirs = bytes_of(host) + bytes * p;
    terms.push_back({{peer, peer + 1}, peer == rank() ? theirs : in + bytes * p});
    if (peer == rank()) continue;
    messages.push_back({peer, in + bytes * p, bytes, false});
    messages.push_back({peer, theirs, bytes, true});
  }
  state_->exchange(call, messages);
  add_terms(x.dtype(), size(), terms, out.numel(), bytes_of(out));
  return back(out, x.device());
}

void Group::barrier(std::string_view what) const {
  if (size() == 1) return;
  Call call("barrier", what);
  state_->begin(call);
}

void Group::on_root(const std::function<void()>& f, std::string_view what) const {
  if (size() == 1) return f();
  std::exception_ptr error;
  std::string message;
  if (rank() == 0) {
    try {
      f();
    } catch (const std::exception& e) {
      error = std::current_exception();
      message = e.what();
    }
  }
  const Tensor length =
      broadcast(from_range(std::vector{static_cast<std::int64_t>(error ? message.size() + 1 : 0)}), 0, what);
  if (length.item<std::int64_t>() == 0) return;
  message.resize(static_cast<std::size_t>(length.item<std::int64_t>()));
  const Tensor text =
      broadcast(from_range(std::vector<std::uint8_t>(message.begin(), message.end())), 0, what);
  if (error) std::rethrow_exception(error);
  const auto bytes = text.to_vector<std::uint8_t>();
  fail<Error>("rank 0: ", std::string(bytes.begin(), bytes.end() - 1));
}

}  // namespace bobbin::dist
