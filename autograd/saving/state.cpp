// States of models and optimizers: compared in full before the first tensor is changed.
#include <bobbin/elementwise.h>
#include <bobbin/state.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <set>
#include <sstream>
#include <utility>
#include <vector>

namespace bobbin {

void check_state(std::string_view what, const StateDict& own, const StateDict& from,
                 const std::map<std::string, std::string>& unreadable) {
  std::ostringstream wrong;
  const auto sep = [&]() -> std::ostream& { return wrong << (wrong.tellp() > 0 ? "; " : ""); };
  for (auto& [name, t] : own) {
    const auto it = from.find(name);
    if (const auto why = unreadable.find(name); it == from.end() && why != unreadable.end())
      sep() << "'" << name << "' cannot be read: " << why->second;
    else if (it == from.end())
      sep() << "'" << name << "' is missing";
    else if (it->second.shape() != t.shape() || it->second.dtype() != t.dtype())
      sep() << "'" << name << "' is " << it->second.spec() << ", not " << t.spec();
  }
  for (auto& [name, t] : from)
    if (!own.contains(name)) sep() << "'" << name << "' is unknown";
  if (wrong.tellp() > 0) fail<FormatError>(what, ": the state does not fit: ", wrong.str());
}

std::function<void()> detail::loading(std::string_view what, const StateDict& own, const StateDict& from,
                                      const std::map<std::string, std::string>& unreadable) {
  check_state(what, own, from, unreadable);
  const NoGrad quiet;
  std::set<const Storage*> edited;
  for (auto& [name, t] : own) {
    for (int i = 0; i < t.rank(); ++i)
      if (t.strides()[i] == 0 && t.shape()[i] > 1)
        fail<ShapeError>(what, ": '", name, "' is expanded, ", t.spec(), ": several of its elements are one");
    edited.insert(t.storage().get());
  }
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (auto& [name, t] : own) {
    Tensor source = to(from.at(name).detach(), t.device());
    if (edited.contains(source.storage().get()))
      source = clone(source);  // a state loaded into itself, or by halves
    copies.emplace_back(t, std::move(source));
  }
  return [copies = std::move(copies)]() mutable {
    const NoGrad quiet;
    for (auto& [t, source] : copies) t.copy_(source);
  };
}

void load_state(std::string_view what, const StateDict& own, const StateDict& from,
                const std::map<std::string, std::string>& unreadable) {
  detail::loading(what, own, from, unreadable)();
}

}  // namespace bobbin
