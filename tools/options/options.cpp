// Reads the options of examples and tools with CLI11.
#include "tools/options/options.h"

#include <bobbin/config.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <type_traits>

namespace bobbin::tools {

Option& Option::range(std::int64_t low, std::int64_t high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
Option& Option::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}
Option& Option::not_negative() {
  // CLI11's own check names the largest double, in 309 digits.
  option_->check(CLI::Validator(
      [](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && value >= 0
                   ? std::string()
                   : "expected a number of at least 0; got " + text;
      },
      "NONNEGATIVE"));
  return *this;
}
Option& Option::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}
Option& Option::required() {
  option_->required();
  return *this;
}
Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}
Option& Option::delimiter(char c) {
  option_->delimiter(c);
  return *this;
}
Option& Option::default_text(const std::string& text) {
  option_->default_str(text);
  return *this;
}
bool Option::given() const { return option_->count() > 0; }

Options::Options(const std::string& about) : app_(std::make_unique<CLI::App>(about)) {
  app_->option_defaults()->always_capture_default();
}
Options::~Options() = default;

template<class T>
Option Options::add(const std::string& name, T& value, const std::string& help) {
  CLI::Option* const option = app_->add_option(name, value, help);
  if constexpr (std::is_unsigned_v<T>)  // a minus sign would wrap: -1 is 2^64 - 1 to std::strtoull
    option->check([](const std::string& text) {
      return text.find('-') == std::string::npos ? std::string()
                                                 : "expected a number of at least 0; got " + text;
    });
  return Option(option);
}
template Option Options::add(const std::string&, std::string&, const std::string&);
template Option Options::add(const std::string&, std::filesystem::path&, const std::string&);
template Option Options::add(const std::string&, int&, const std::string&);
template Option Options::add(const std::string&, std::int64_t&, const std::string&);
template Option Options::add(const std::string&, std::uint64_t&, const std::string&);
template Option Options::add(const std::string&, double&, const std::string&);
template Option Options::add(const std::string&, std::vector<std::string>&, const std::string&);
template Option Options::add(const std::string&, std::vector<std::int64_t>&, const std::string&);

Option Options::flag(const std::string& name, bool& value, const std::string& help) {
  return Option(app_->add_flag(name, value, help));
}

std::optional<int> Options::parse(int argc, char** argv) {
  program_ = std::filesystem::path(argv[0]).filename().string();
  app_->set_version_flag("--version", program_ + " (Bobbin) " BOBBIN_VERSION, "Print the version and exit");
  try {
    app_->parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app_->exit(e);  // --help, --version
    return refuse(e.what());
  }
}

int Options::refuse(const std::string& message) const {
  std::fprintf(stderr, "%s: %s (--help lists the options)\n", program_.c_str(), message.c_str());
  return 2;
}

}  // namespace bobbin::tools
