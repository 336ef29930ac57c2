// States of models and optimizers: compared in full before the first tensor is changed.
#include <bobbin/elementwise.h>
#include <bobbin/state.h>
#include <bobbin/tape.h>

#include <sstream>
#include <utility>
#include <vector>

namespace bobbin {

void check_state(std::string_view what, const StateDict& own, const StateDict& from) {
  std::ostringstream wrong;
  const auto sep = [&]() -> std::ostream& { return wrong << (wrong.tellp() > 0 ? "; " : ""); };
  for (auto& [name, t] : own) {
    const auto it = from.find(name);
    if (it == from.end())
      sep() << "'" << name << "' is missing";
    else if (it->second.shape() != t.shape() || it->second.dtype() != t.dtype())
      sep() << "'" << name << "' is " << it->second.spec() << ", not " << t.spec();
  }
  for (auto& [name, t] : from)
    if (!own.contains(name)) sep() << "'" << name << "' is unknown";
  if (wrong.tellp() > 0) fail<FormatError>(what, ": the state does not fit: ", wrong.str());
}

void load_state(std::string_view what, const StateDict& own, const StateDict& from) {
  check_state(what, own, from);
  const NoGrad quiet;
  std::vector<std::pair<Tensor, Tensor>> copies;  // all conversions before the first copy, as they may throw
  for (auto& [name, t] : own) copies.emplace_back(t, to(from.at(name), t.device()));
  for (auto& [t, source] : copies) t.copy_(source);
}

}  // namespace bobbin
