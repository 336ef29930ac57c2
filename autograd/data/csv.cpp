// read_csv: tables of numbers from CSV text, with libcsv.
#include <bobbin/data_files.h>
#include <bobbin/elementwise.h>
#include <bobbin/error.h>
#include <bobbin/view.h>
#include <csv.h>

#include <charconv>
#include <fstream>
#include <limits>
#include <memory>

namespace bobbin {
namespace {

struct Reader {
  const std::filesystem::path& path;
  const CsvOptions& options;
  Csv* out;
  std::vector<double> values;
  std::vector<std::string> row;
  std::int64_t line = 0;
  std::size_t width = 0;

  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    fail<FormatError>("read_csv: ", path.string(), ", record ", line, ": ", what...);
  }

  double number(const std::string& field) const {
    const auto first = field.find_first_not_of(" \t"), last = field.find_last_not_of(" \t");
    if (first == std::string::npos) return std::numeric_limits<double>::quiet_NaN();
    const char *begin = field.data() + first, *end = field.data() + last + 1;
    begin += *begin == '+' && end - begin > 1;  // from_chars accepts no plus sign
    double v = 0;
    const auto [stopped, error] = std::from_chars(begin, end, v);
    if (error == std::errc::result_out_of_range) bad("'", field, "' is out of range");
    if (error != std::errc() || stopped != end) bad("'", field, "' is no number");
    return v;
  }

  void end_of_row() {
    ++line;
    if (width == 0) width = row.size();
    if (row.size() != width) bad("expected ", width, " fields; got ", row.size());
    if (line == 1 && options.header)
      out->columns = row;
    else
      for (auto& field : row) values.push_back(number(field));
    row.clear();
  }
};

}  // namespace

Tensor Csv::operator[](std::string_view name) const {
  std::string all;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] == name) return contiguous(select(values, 1, static_cast<std::int64_t>(i)));
    all += (i ? ", '" : "'") + columns[i] + "'";
  }
  fail<ValueError>("Csv: there is no column '", name, "'; there are ", all);
}

Csv read_csv(const std::filesystem::path& path, const CsvOptions& options) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path))
    fail<IoError>("read_csv: ", path.string(), " cannot be opened");
  csv_parser parser;
  if (csv_init(&parser, CSV_STRICT | CSV_APPEND_NULL) != 0) fail<Error>("read_csv: no parser");
  const std::unique_ptr<csv_parser, void (*)(csv_parser*)> cleanup(&parser, csv_free);
  csv_set_delim(&parser, static_cast<unsigned char>(options.separator));
  Csv out;
  Reader reader{path, options, &out, {}, {}};
  std::exception_ptr thrown;  // exceptions must not pass through the C parser
  struct Context {
    Reader& reader;
    std::exception_ptr& thrown;
  } context{reader, thrown};
  const auto field = [](void* text, std::size_t n, void* c) {
    auto& [reader, thrown] = *static_cast<Context*>(c);
    if (!thrown) reader.row.emplace_back(static_cast<const char*>(text), n);
  };
  const auto row = [](int, void* c) {
    auto& [reader, thrown] = *static_cast<Context*>(c);
    if (thrown) return;
    try {
      reader.end_of_row();
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  char block[1 << 16];
  bool right = true;
  while (right && !thrown && (in.read(block, sizeof block), in.gcount() > 0)) {
    const auto n = static_cast<std::size_t>(in.gcount());
    right = csv_parse(&parser, block, n, field, row, &context) == n;
  }
  if (in.bad()) fail<IoError>("read_csv: ", path.string(), " cannot be read");
  right = right && csv_fini(&parser, field, row, &context) == 0;
  if (thrown) std::rethrow_exception(thrown);
  if (!right) reader.bad(csv_strerror(csv_error(&parser)));
  const auto columns = static_cast<std::int64_t>(reader.width);
  const auto rows = columns == 0 ? 0 : static_cast<std::int64_t>(reader.values.size()) / columns;
  out.values = to(reshape(from_range(reader.values), {rows, columns}), options.dtype);
  return out;
}

}  // namespace bobbin
