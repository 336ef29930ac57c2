// Reads the data of the MNIST example, and checks and normalises it.
#include "mnist_data.h"

#include <bobbin/data_files.h>
#include <bobbin/ops.h>
#include <bobbin/random.h>

#include <algorithm>

using namespace bobbin;
namespace fs = std::filesystem;

const ImageSet& dataset(const std::string& name) {
  static const ImageSet mnist{
      "MNIST", {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, 0.1307f, 0.3081f, false};
  static const ImageSet fashion{
      "Fashion-MNIST",
      {"T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"},
      0.2860f,
      0.3530f,
      true};
  return name == "fashion" ? fashion : mnist;
}

static IdxArray read(const fs::path& dir, const std::string& name, int rank) {
  for (const fs::path& path : {dir / name, dir / (name + ".gz")})
    if (std::error_code e; fs::exists(path, e)) return read_idx(path, rank);
  fail<IoError>("no ", name, " (or .gz) in ", dir.string(), "; tools/get-data fetches the data");
}

Examples read_examples(const fs::path& dir, const std::string& part, const ImageSet& set, Device device) {
  const IdxArray raw = read(dir, part + "-images-idx3-ubyte", 3);
  const IdxArray labels = read(dir, part + "-labels-idx1-ubyte", 1);
  const std::int64_t n = raw.dims[0];
  const auto bad = [&](const auto&... what) { fail<FormatError>((dir / part).string(), "-*: ", what...); };
  if (raw.dims[1] != side || raw.dims[2] != side)
    bad("expected images of 28 x 28; got ", raw.dims[1], " x ", raw.dims[2]);
  if (n != labels.dims[0]) bad(n, " images and ", labels.dims[0], " labels");
  if (n < 2) bad("expected 2 images or more; got ", n);
  for (const int label : labels.bytes)
    if (label >= classes) bad("expected labels 0 to 9; found ", label);

  Tensor images = empty({n, pixels});
  std::ranges::transform(raw.bytes, images.mutable_data<float>().begin(), [&](std::uint8_t x) {
    return (static_cast<float>(x) / 255 - set.mean) / set.deviation;
  });
  return {to(images, device), to(to(from_range(labels.bytes), DType::i64), device)};
}
