// Data from files: IDX (the format of MNIST), CSV, and folders of images.
#pragma once
#include <bobbin/data.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// The array of bytes of an IDX file: row-major, dims.size() dimensions.
struct IdxArray {
  std::vector<std::int64_t> dims;   ///< sizes of the axes
  std::vector<std::uint8_t> bytes;  ///< as many as the product of dims
};

/// Reads an IDX file of unsigned bytes (the format of MNIST), plain or gzip; the file's first bytes decide
/// which. `expected_rank` is the number of dimensions that it must have, 0 for any.
/// The memory that this uses is proportional to the real contents, not to the sizes in the header.
/// Throws FormatError if the contents are not exactly one such array (another element type, another rank, too
/// few or too many bytes, a damaged gzip stream); IoError if `path` is not a readable regular file;
/// ValueError if expected_rank is outside [0, 255].
IdxArray read_idx(const std::filesystem::path& path, int expected_rank = 0);

/// An IDX file as a u8 tensor.
Tensor idx_tensor(const std::filesystem::path&, int expected_rank = 0);

/// How to read a table.
struct CsvOptions {
  bool header = true;        ///< the first line names the columns
  char separator = ',';      ///< between the fields of a line
  DType dtype = DType::f32;  ///< of the result
};
/// A table of numbers.
struct Csv {
  std::vector<std::string> columns;  ///< empty without a header
  Tensor values;                     ///< [rows, columns]
  /// The column of this name, [rows]. If there is none, throws ValueError that lists the names.
  Tensor operator[](std::string_view name) const;
};
/// Reads RFC 4180 text; an empty field is NaN. Throws IoError; FormatError, with the line, for a field that
/// is no number or a row of another length.
Csv read_csv(const std::filesystem::path&, const CsvOptions& = {});

/// PNG, JPEG, BMP, GIF and PNM files in folders; each folder is a class. Files are in the order of their
/// names and are read when a batch needs them.
class ImageFolder final : public Dataset {
 public:
  /// Images are scaled to height x width. Throws IoError if the folder contains no folder of images.
  ImageFolder(const std::filesystem::path&, std::int64_t height, std::int64_t width,
              std::int64_t channels = 3);
  /// The number of images.
  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  /// {images, labels}: f32 [n, channels, height, width] in [0, 1], and i64 [n]. Throws FormatError for a file
  /// that is no image.
  Batch batch(const Tensor& indices) const override;
  /// Names of the folders, in order: label i is classes()[i].
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  std::vector<std::filesystem::path> files_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> classes_;
  std::int64_t height_, width_, channels_;
};

}  // namespace bobbin
