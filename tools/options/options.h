// The options of the examples and tools, read by CLI11 (github.com/CLIUtils/CLI11). CLI11 takes five seconds
// to compile, so options.cpp is the only source that includes it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace bobbin::tools {

/// An option of a program. The functions restrict its values, or change what --help shows.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option& range(std::int64_t low, std::int64_t high);
  Option& positive();
  Option& not_negative();
  Option& one_of(const std::vector<std::string>& values);
  Option& required();
  Option& excludes(const Option& other);
  /// One argument may have several values, with this character between them.
  Option& delimiter(char);
  /// Describes the default in --help, in place of the variable's value.
  Option& default_text(const std::string&);
  /// After parse(): whether the option was given.
  bool given() const;

 private:
  CLI::Option* option_;
};

class Options {
 public:
  explicit Options(const std::string& about);
  ~Options();

  /// Adds an option with a value; an option whose name has no dashes is positional. `value` holds the
  /// default, and must outlive this object. T is std::string, std::filesystem::path, int, std::int64_t,
  /// std::uint64_t, double, or a vector of std::string or std::int64_t, for options that may be repeated.
  template<class T>
  Option add(const std::string& name, T& value, const std::string& help);
  /// Adds an option without a value; in `name`, after a comma, "!--no-name" names its opposite.
  Option flag(const std::string& name, bool& value, const std::string& help);

  /// Reads the arguments. If the program must end now, returns its exit status: 0 after --help or --version,
  /// 2 after an error, which it reports in one line.
  std::optional<int> parse(int argc, char** argv);
  /// Reports an error in the options in the same way, and returns the exit status.
  int refuse(const std::string& message) const;

 private:
  std::unique_ptr<CLI::App> app_;
  std::string program_;
};

}  // namespace bobbin::tools
