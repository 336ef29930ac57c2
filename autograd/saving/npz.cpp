// save_npz and load_npz: archives of NumPy arrays, with libzip.
#include <bobbin/saving.h>
#include <zip.h>

#include <memory>

#include "autograd/saving/npy.h"
#include "core/atomic_file.h"

namespace bobbin {
namespace {

// A zip archive in memory: libzip reads and writes the bytes there, and AtomicFile writes the file.
struct Archive {
  zip_source_t* source = nullptr;
  zip_t* zip = nullptr;
  std::string op, name;

  Archive(std::string_view who, std::string path, const std::string* bytes) : op(who), name(std::move(path)) {
    zip_error_t error;
    zip_error_init(&error);
    source = zip_source_buffer_create(bytes ? bytes->data() : nullptr, bytes ? bytes->size() : 0, 0, &error);
    if (source) zip = zip_open_from_source(source, bytes ? ZIP_RDONLY : ZIP_TRUNCATE, &error);
    const std::string why = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (zip) {
      zip_source_keep(source);
      return;
    }
    if (source) zip_source_free(source);
    fail<FormatError>(op, ": ", name, " is no archive: ", why);
  }
  ~Archive() {
    if (zip) zip_discard(zip);
    zip_source_free(source);
  }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;
  [[noreturn]] void failed() const { fail<IoError>(op, ": ", name, ": ", zip_strerror(zip)); }
};

}  // namespace

void save_npz(const std::filesystem::path& path, const StateDict& tensors) {
  std::map<std::string, std::string> bytes;  // until the archive is closed
  for (auto& [name, t] : tensors) bytes[name + ".npy"] = npy_bytes("save_npz", t);
  Archive archive("save_npz", path.string(), nullptr);
  for (auto& [name, data] : bytes) {
    zip_source_t* entry = zip_source_buffer(archive.zip, data.data(), data.size(), 0);
    if (!entry || zip_file_add(archive.zip, name.c_str(), entry, ZIP_FL_ENC_UTF_8) < 0) archive.failed();
  }
  if (zip_close(archive.zip) != 0) archive.failed();
  archive.zip = nullptr;
  AtomicFile file("save_npz", path);
  if (zip_source_open(archive.source) != 0)
    fail<IoError>("save_npz: ", path.string(), " cannot be read back");
  char block[1 << 16];
  for (zip_int64_t n; (n = zip_source_read(archive.source, block, sizeof block)) > 0;)
    file.write(block, static_cast<std::size_t>(n));
  zip_source_close(archive.source);
  file.commit();
}

StateDict load_npz(const std::filesystem::path& path) {
  const std::string bytes = read_file("load_npz", path);
  const Archive archive("load_npz", path.string(), &bytes);
  StateDict out;
  const zip_int64_t entries = zip_get_num_entries(archive.zip, 0);
  for (zip_int64_t i = 0; i < entries; ++i) {
    zip_stat_t stat;
    const auto index = static_cast<zip_uint64_t>(i);
    if (zip_stat_index(archive.zip, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE)) archive.failed();
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive.zip, index, 0),
                                                                 zip_fclose);
    if (!file) archive.failed();
    std::string data;  // grows as bytes are read, because the size in the archive may be false
    char block[1 << 16];
    zip_int64_t n;
    while ((n = zip_fread(file.get(), block, sizeof block)) > 0)
      data.append(block, static_cast<std::size_t>(n));
    std::string name = stat.name;
    if (n < 0) fail<FormatError>("load_npz: ", path.string(), ": '", name, "' is damaged");
    const Tensor t = npy_tensor(path.string() + ": '" + name + "'", data);
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    out[name] = t;
  }
  return out;
}

}  // namespace bobbin
