// read_csv: tables of numbers from CSV text, with libcsv.
#include <bobbin/data_files.h>
#include <bobbin/error.h>
#include <bobbin/view.h>
#include <csv.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>

#include "autograd/data/csv_number.h"
#include "core/input_file.h"

namespace bobbin {
namespace {

constexpr std::size_t max_field = 1 << 20;

struct Reader {
  const std::string& name;
  const CsvOptions& options;
  std::vector<std::string> columns = {};
  std::vector<std::string> row = {};
  std::vector<char> elements = {};
  std::int64_t records = 0, line = 1;  // line: of the file, that the parser is in
  std::int64_t row_line = 1;           // of the record's first character
  std::size_t width = 0;               // fields of each record
  std::exception_ptr thrown = {};      // exceptions must not pass through the C parser

  template<class... What>
  [[noreturn]] void bad(std::size_t column, const What&... what) const {
    const bool named = column > 0 && column <= columns.size();
    fail<FormatError>("read_csv: ", name, ", line ", row_line, ", column ", column, named ? " ('" : "",
                      named ? columns[column - 1] : "", named ? "')" : "", ", record ",
                      records + (row.empty() ? 1 : 0), ": ", what...);
  }

  void field(const char* text, std::size_t n) {
    if (row.empty()) ++records;
    row.emplace_back(text, n);
  }

  void end_of_row() {
    if (records == 1) width = row.size();
    if (row.size() != width)
      bad(std::min(row.size(), width) + 1, "expected ", width, " fields; got ", row.size());
    if (records == 1 && options.header) {
      columns = row;
    } else {
      const auto size = static_cast<std::size_t>(size_of(options.dtype));
      elements.resize(elements.size() + width * size);
      char* out = elements.data() + elements.size() - width * size;
      for (std::size_t i = 0; i < width; ++i, out += size)
        if (const auto wrong = csv_number(row[i], options.dtype, out)) bad(i + 1, *wrong);
    }
    row.clear();
  }
};

// Calls f, and keeps what it throws for later.
template<class F>
void guarded(void* context, F&& f) {
  Reader& reader = *static_cast<Reader*>(context);
  if (reader.thrown) return;
  try {
    f(reader);
  } catch (...) {
    reader.thrown = std::current_exception();
  }
}

void on_field(void* text, std::size_t n, void* context) {
  guarded(context, [&](Reader& r) { r.field(static_cast<const char*>(text), n); });
}

void on_row(int, void* context) {
  guarded(context, [](Reader& r) { r.end_of_row(); });
}

// Gives the parser one line at a time, so that the line of each record is known.
void parse(csv_parser& parser, Reader& reader, const char* text, std::size_t n) {
  while (n > 0) {
    const void* const newline = std::memchr(text, '\n', n);
    const std::size_t part =
        newline ? static_cast<std::size_t>(static_cast<const char*>(newline) - text) + 1 : n;
    if (reader.row.empty() && parser.entry_pos == 0) reader.row_line = reader.line;
    const std::size_t done = csv_parse(&parser, text, part, on_field, on_row, &reader);
    if (reader.thrown) std::rethrow_exception(reader.thrown);
    if (done != part) reader.bad(reader.row.size() + 1, csv_strerror(csv_error(&parser)));
    if (parser.entry_pos > max_field)
      reader.bad(reader.row.size() + 1, "a field of more than ", max_field, " bytes");
    reader.line += newline ? 1 : 0;
    text += part;
    n -= part;
  }
}

}  // namespace

Tensor Csv::operator[](std::string_view name) const {
  const auto found = std::ranges::find(columns, name);
  if (found != columns.end() && std::ranges::count(columns, name) == 1)
    return contiguous(select(values, 1, found - columns.begin()));
  std::string all;
  for (auto& column : columns) all += (all.empty() ? "'" : ", '") + column + "'";
  fail<ValueError>("Csv: there ", found == columns.end() ? "is no column" : "are several columns", " '", name,
                   "'; there are ", all);
}

Csv read_csv(const std::filesystem::path& path, const CsvOptions& options) {
  if (std::string_view("\"\r\n").find(options.separator) != std::string_view::npos)
    fail<ValueError>("read_csv: fields cannot be separated by a quote or an end of line");
  InputFile in("read_csv", path);
  csv_parser parser;
  if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0) fail<Error>("read_csv: no parser");
  const std::unique_ptr<csv_parser, void (*)(csv_parser*)> cleanup(&parser, csv_free);
  csv_set_delim(&parser, static_cast<unsigned char>(options.separator));
  Reader reader{in.name(), options};
  std::vector<char> block(1 << 16);
  std::size_t n = in.read(block.data(), block.size()), skip = 0;
  if (n >= 3 && std::memcmp(block.data(), "\xEF\xBB\xBF", 3) == 0) skip = 3;
  for (; n > 0; n = in.read(block.data(), block.size()), skip = 0)
    parse(parser, reader, block.data() + skip, n - skip);
  const bool right = csv_fini(&parser, on_field, on_row, &reader) == 0;
  if (reader.thrown) std::rethrow_exception(reader.thrown);
  if (!right) reader.bad(reader.row.size() + 1, csv_strerror(csv_error(&parser)));
  if (reader.records == 0)
    fail<FormatError>("read_csv: ", in.name(), ", line 1, column 1: it holds no record");
  const auto columns = static_cast<std::int64_t>(reader.width),
             rows = reader.records - (options.header ? 1 : 0);
  Csv out{std::move(reader.columns), empty({rows, columns}, options.dtype)};
  std::ranges::copy(reader.elements, out.values.raw<char>());
  return out;
}

}  // namespace bobbin
