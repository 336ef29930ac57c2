// save_npz and load_npz: archives of NumPy arrays, with libzip.
#include <bobbin/saving.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "autograd/saving/npy.h"
#include "core/atomic_file.h"
#include "core/input_file.h"

namespace bobbin {
namespace {

// What libzip says of its last error.
std::string reason(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

// An archive that is written to memory: AtomicFile writes the file.
struct Writer {
  zip_source_t* source = nullptr;
  zip_t* zip = nullptr;
  std::string name;

  explicit Writer(std::string path) : name(std::move(path)) {
    zip_error_t error;
    zip_error_init(&error);
    source = zip_source_buffer_create(nullptr, 0, 0, &error);
    if (source) zip = zip_open_from_source(source, ZIP_TRUNCATE, &error);
    const std::string why = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (zip) {
      zip_source_keep(source);
      return;
    }
    if (source) zip_source_free(source);
    fail<IoError>("save_npz: ", name, ": ", why);
  }
  ~Writer() {
    if (zip) zip_discard(zip);
    zip_source_free(source);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  [[noreturn]] void failed() const { fail<IoError>("save_npz: ", name, ": ", zip_strerror(zip)); }
};

using Archive = std::unique_ptr<zip_t, void (*)(zip_t*)>;

// Opens the archive through the descriptor of the file, which is thus the one whose size is known.
Archive opened(const InputFile& file) {
  if (file.size() == 0) fail<FormatError>("load_npz: ", file.name(), " is empty: no archive");
  const int copy = ::dup(file.descriptor());
  int code = 0;
  zip_t* const zip = copy < 0 ? nullptr : zip_fdopen(copy, 0, &code);
  if (!zip) {
    if (copy < 0) fail<IoError>("load_npz: ", file.name(), " cannot be opened");
    ::close(copy);
    fail<FormatError>("load_npz: ", file.name(), " is no archive: ", reason(code));
  }
  return {zip, zip_discard};
}

// The members of an archive with their sizes, once all of them are known to be bearable.
std::vector<zip_stat_t> members(const InputFile& file, zip_t* zip, const ReadOptions& options) {
  std::vector<zip_stat_t> out(
      static_cast<std::size_t>(std::max<zip_int64_t>(zip_get_num_entries(zip, 0), 0)));
  const std::uint64_t most =
      std::max(options.max_unpacked, std::min<std::uint64_t>(file.size(), 1ULL << 56) * 100);
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (zip_stat_index(zip, i, 0, &out[i]) != 0 || !(out[i].valid & ZIP_STAT_SIZE) || !out[i].name)
      fail<FormatError>("load_npz: ", file.name(), ": member ", i, " is damaged: ", zip_strerror(zip));
    if (__builtin_add_overflow(all, out[i].size, &all) || all > most)
      fail<FormatError>("load_npz: ", file.name(), " unpacks to more than ", most,
                        " bytes; ReadOptions::max_unpacked raises this limit");
  }
  return out;
}

// Reads one member. Throws FormatError; `damaged` says whether the archive is at fault, and not the array.
Tensor array(const std::string& where, zip_t* zip, const zip_stat_t& member, const ReadOptions& options,
             bool& damaged) {
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(zip, member.index, 0),
                                                               zip_fclose);
  if (!file) {
    const int code = zip_error_code_zip(zip_get_error(zip));
    damaged = code != ZIP_ER_NOPASSWD && code != ZIP_ER_ENCRNOTSUPP && code != ZIP_ER_COMPNOTSUPP;
    fail<FormatError>(where, damaged ? " is damaged: " : " cannot be unpacked: ", zip_strerror(zip));
  }
  const auto read = [&](char* out, std::size_t n) {
    std::size_t done = 0;
    while (done < n) {
      const zip_int64_t got = zip_fread(file.get(), out + done, n - done);
      if (got < 0) {
        damaged = true;
        fail<FormatError>(where, " is damaged: ", zip_error_strerror(zip_file_get_error(file.get())));
      }
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  };
  const Tensor t = npy_tensor(where, member.size, read, options);
  char more;  // the read at the end compares the checksum
  if (read(&more, 1) != 0) {
    damaged = true;
    fail<FormatError>(where, " is damaged: it has more bytes than the archive says");
  }
  return t;
}

std::string key(std::string name) {
  if (name.ends_with(".npy")) name.resize(name.size() - 4);
  return name;
}

}  // namespace

const Tensor& ArrayFile::at(const std::string& name) const {
  if (const auto found = find(name); found != end()) return found->second;
  if (const auto why = unreadable.find(name); why != unreadable.end()) throw FormatError(why->second);
  std::string all;
  for (auto& [other, t] : *this) {
    if (all.size() > 1000) {
      all += ", ...";
      break;
    }
    all += (all.empty() ? "'" : ", '") + other + "'";
  }
  fail<ValueError>("load_npz: there is no array '", name, "'; there are ", all.empty() ? "none" : all);
}

void save_npz(const std::filesystem::path& path, const StateDict& tensors) {
  std::map<std::string, std::string> bytes;  // until the archive is closed
  for (auto& [name, t] : tensors) bytes[name + ".npy"] = npy_bytes("save_npz", t);
  std::string archive(22, '\0');  // of nothing, which libzip does not write: the end of the directory
  archive.replace(0, 4, "PK\5\6");
  if (!bytes.empty()) {
    Writer writer(path.string());
    for (auto& [name, data] : bytes) {
      zip_source_t* entry = zip_source_buffer(writer.zip, data.data(), data.size(), 0);
      if (!entry) writer.failed();
      if (zip_file_add(writer.zip, name.c_str(), entry, ZIP_FL_ENC_UTF_8) < 0) {
        zip_source_free(entry);
        writer.failed();
      }
    }
    if (zip_close(writer.zip) != 0) writer.failed();
    writer.zip = nullptr;
    archive.clear();
    if (zip_source_open(writer.source) != 0)
      fail<IoError>("save_npz: ", path.string(), " cannot be read back");
    char block[1 << 16];
    zip_int64_t n;
    while ((n = zip_source_read(writer.source, block, sizeof block)) > 0)
      archive.append(block, static_cast<std::size_t>(n));
    zip_source_close(writer.source);
    if (n < 0) fail<IoError>("save_npz: ", path.string(), " cannot be read back");
  }
  AtomicFile file("save_npz", path);
  file.write(archive.data(), archive.size());
  file.commit();
}

ArrayFile load_npz(const std::filesystem::path& path, const ReadOptions& options) {
  const InputFile file("load_npz", path);
  const Archive zip = opened(file);
  ArrayFile out;
  for (const zip_stat_t& member : members(file, zip.get(), options)) {
    const std::string name = key(member.name), where = "load_npz: " + file.name() + ": '" + member.name + "'";
    if (out.contains(name) || out.unreadable.contains(name)) fail<FormatError>(where, " is there twice");
    bool damaged = false;
    try {
      out.emplace(name, array(where, zip.get(), member, options, damaged));
    } catch (const FormatError& e) {
      if (damaged) throw;
      out.unreadable.emplace(name, e.what());
    }
  }
  if (out.empty() && !out.unreadable.empty()) throw FormatError(out.unreadable.begin()->second);
  return out;
}

}  // namespace bobbin
