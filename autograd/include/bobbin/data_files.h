// Data from files: IDX (the format of MNIST), CSV, and folders of images.
#pragma once
#include <bobbin/data.h>
#include <bobbin/read_options.h>

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
/// The memory that this uses is proportional to the real contents, not to the sizes in the header. Zeros
/// behind a gzip stream are padding, as for gzip(1). Throws FormatError if the contents are not exactly one
/// such array (another element type, another rank, too few or too many bytes, a damaged gzip stream, more
/// than options.max_unpacked bytes from gzip); IoError if `path` is not a readable regular file; ValueError
/// if expected_rank is outside [0, 255].
IdxArray read_idx(const std::filesystem::path& path, int expected_rank = 0, const ReadOptions& options = {});

/// An IDX file as a u8 tensor.
Tensor idx_tensor(const std::filesystem::path&, int expected_rank = 0, const ReadOptions& options = {});

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
  /// The column of this name, [rows]. If there is none, or there are two, throws ValueError that lists the
  /// names.
  Tensor operator[](std::string_view name) const;
};
/// Reads RFC 4180 text, with or without UTF-8's byte order mark. Numbers are written in the C locale's way,
/// whatever the locale. In a floating dtype an empty field is NaN, and "nan" and "inf" are read. In an
/// integer dtype each field must be exactly a value of the dtype ("3", "3.0" and "3e2" are; "2.5", "" and 256
/// for u8 are not); in bool, 0 or 1. Throws IoError unless the path is a regular file that can be read;
/// FormatError, with line and column, for a field that is no number of the dtype, a row of another length, a
/// field of more than 1 MB, and an empty file.
Csv read_csv(const std::filesystem::path&, const CsvOptions& = {});

/// PNG, JPEG and PNM files (.png, .jpg, .jpeg, .pbm, .pgm, .ppm, .pnm) in folders; each folder is a class,
/// also one without images. Hidden files and folders, whose names begin with a dot, and other files are
/// passed over. Files are in the order of their names and are read when a batch needs them. Contents, not
/// names, say which format a file has.
class ImageFolder final : public Dataset {
 public:
  /// Images are scaled to height x width (Mitchell's filter where they become smaller, Catmull-Rom's where
  /// larger), and have 1 channel (grey: .299 R + .587 G + .114 B), 2 (grey, alpha), 3 or 4 (with alpha). An
  /// image with more than max_pixels pixels, or 2^20 on a side, is refused. Throws IoError if the folder
  /// contains no folder of images, or cannot be listed; FormatError if it contains BMP or GIF files, which
  /// are not read; ValueError for sizes that are not 1 to 16384.
  ImageFolder(const std::filesystem::path&, std::int64_t height, std::int64_t width,
              std::int64_t channels = 3, std::int64_t max_pixels = std::int64_t{1} << 27);
  /// The number of images.
  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  /// {images, labels}: f32 [n, channels, height, width] in [0, 1], and i64 [n]. A sample of 16 bits is
  /// divided by 65535, one of PNM by the file's maximum. Throws FormatError for a file that is no whole
  /// image.
  Batch batch(const Tensor& indices) const override;
  /// Names of the folders, in order: label i is classes()[i].
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  std::vector<std::filesystem::path> files_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> classes_;
  std::int64_t height_, width_, channels_, max_pixels_;
};

}  // namespace bobbin
