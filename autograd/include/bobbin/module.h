// Models: plain structs whose members are parameters, layers and other models. One member function names
// them:
//
//   struct Net {
//     nn::Conv2d conv{1, 16, 3};
//     nn::Linear out{16, 10};
//     Tensor operator()(const Tensor& x) const { return out(mean(relu(conv(x)), {2, 3})); }
//     void each(nn::Visit& v) { v("conv", conv), v("out", out); }
//   };
//   Net net;
//   optim::Adam adam(nn::parameters(net));
//
// C++ cannot list a struct's members with their names. A line that does so is simpler than a macro or a base
// class that registers them, and models stay copyable, movable and without virtual functions.
#pragma once
#include <bobbin/elementwise.h>
#include <bobbin/state.h>

#include <functional>
#include <string>
#include <string_view>
#include <typeinfo>

/// Modules and layers.
namespace bobbin::nn {

class Visit;

/// A model or a layer: it has `each`, which names its parts.
template<class M>
concept Module = requires(M& m, Visit& v) {
  m.each(v);
};

/// Visits the tensors of a model. Their names are those of the parts, joined with dots.
class Visit {
 public:
  virtual ~Visit() = default;
  /// Visits a parameter. Skips an undefined one, such as a bias that the layer does not have.
  void operator()(std::string_view name, Tensor& parameter) {
    if (parameter) on_parameter(path_ + std::string(name), parameter);
  }
  /// Visits a tensor that belongs to the model's state but is not trained.
  void buffer(std::string_view name, Tensor& buffer) {
    if (buffer) on_buffer(path_ + std::string(name), buffer);
  }
  /// Visits the switch of a layer that behaves differently in training.
  void mode(bool& training) { on_mode(training); }
  /// Visits a part that is a module; the names in it are prefixed with `name` and a dot.
  template<Module M>
  void operator()(std::string_view name, M& module) {
    enter(name, typeid(M));
    module.each(*this);
    leave(name);
  }
  /// Visits a module whose type is known only at run time.
  void part(std::string_view name, const std::type_info& type, const std::function<void(Visit&)>& each) {
    enter(name, type);
    each(*this);
    leave(name);
  }

 protected:
  /// Called with a parameter and its full name.
  virtual void on_parameter(const std::string& name, Tensor&) = 0;
  /// Called with a buffer and its full name.
  virtual void on_buffer(const std::string& name, Tensor&) = 0;
  /// Called with the switch of a layer, and may change it.
  virtual void on_mode(bool&) {}
  /// Called before a part of this name and type is visited.
  virtual void on_enter(std::string_view, const std::type_info&) {}
  /// Called after the visit of a part.
  virtual void on_leave() {}

 private:
  void enter(std::string_view name, const std::type_info& type) {
    path_ += std::string(name) + ".";
    on_enter(name, type);
  }
  void leave(std::string_view name) {
    path_.resize(path_.size() - name.size() - 1);
    on_leave();
  }
  std::string path_;
};

namespace detail {
using Each = std::function<void(Visit&)>;
StateDict state(const Each&, bool parameters, bool buffers);
std::vector<Tensor> parameters(const Each&);
void set_training(const Each&, bool);
void move(const Each&, const std::function<Tensor(const Tensor&)>&);
std::string summary(const Each&, const std::type_info&);
template<class M>
Each each(M& m) {
  return [&m](Visit& v) { m.each(v); };
}
}  // namespace detail

/// The parameters, in the order in which the model names them. A parameter that is named twice (tied) is
/// returned once.
template<Module M>
std::vector<Tensor> parameters(M& m) {
  return detail::parameters(detail::each(m));
}
/// Parameters by their names. Throws ValueError if two have the same name.
template<Module M>
StateDict named_parameters(M& m) {
  return detail::state(detail::each(m), true, false);
}
/// The number of elements of all parameters.
template<Module M>
std::int64_t num_parameters(M& m) {
  std::int64_t n = 0;
  for (auto& p : parameters(m)) n += p.numel();
  return n;
}
/// Parameters and buffers by their names. The tensors share their elements with the model.
template<Module M>
StateDict state_dict(M& m) {
  return detail::state(detail::each(m), true, true);
}
/// Copies these elements into the model's tensors. If the names, shapes or dtypes differ, throws FormatError
/// that lists all differences, and changes nothing.
template<Module M>
void load_state_dict(M& m, const StateDict& from) {
  load_state("load_state_dict", state_dict(m), from);
}
/// The same for what load_safetensors or load_npz returns: the error of a tensor that Bobbin does not hold
/// says why.
template<Module M, class File>
requires requires(const File& file) { file.unreadable; }
void load_state_dict(M& m, const File& file) {
  if constexpr (requires { file.tensors; })
    load_state("load_state_dict", state_dict(m), file.tensors, file.unreadable);
  else
    load_state("load_state_dict", state_dict(m), file, file.unreadable);
}
/// Sets the mode of all layers: training (dropout, batch statistics) or evaluation.
template<Module M>
void train(M& m, bool on = true) {
  detail::set_training(detail::each(m), on);
}
/// train(m, false).
template<Module M>
void eval(M& m) {
  train(m, false);
}
/// Moves all tensors to a device. An optimizer that was made before holds the earlier tensors, so make it
/// afterwards.
template<Module M>
void to(M& m, Device device) {
  detail::move(detail::each(m), [device](const Tensor& t) { return bobbin::to(t, device); });
}
/// Converts all floating tensors.
template<Module M>
void to(M& m, DType dtype) {
  detail::move(detail::each(m),
               [dtype](const Tensor& t) { return is_floating(t.dtype()) ? bobbin::to(t, dtype) : t; });
}
/// The model as a tree, with shapes and numbers of parameters.
template<Module M>
std::string summary(M& m) {
  return detail::summary(detail::each(m), typeid(M));
}

}  // namespace bobbin::nn
