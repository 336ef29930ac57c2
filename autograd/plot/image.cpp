// Image; beside() and below(), which join images.
#include <bobbin/error.h>
#include <bobbin/plot.h>

#include <algorithm>

namespace bobbin::plot {
namespace {

constexpr int kMaxSide = 16384;
constexpr std::int64_t kMaxArea = std::int64_t{1} << 26;

void paste(Image& onto, const Image& image, int left, int top) {
  const auto width = static_cast<std::size_t>(image.width());
  for (int y = 0; y < image.height(); ++y) {
    const auto row = image.pixels().subspan(static_cast<std::size_t>(y) * width, width);
    std::copy(row.begin(), row.end(), &onto.at(left, top + y));
  }
}

Image compose(const std::vector<Image>& images, int gap, bool across, const char* name) {
  if (images.empty()) fail<ValueError>(name, ": needs at least one picture");
  if (gap < 0) fail<ValueError>(name, ": gap must not be negative; got ", gap);
  std::int64_t along = gap * (static_cast<std::int64_t>(images.size()) - 1);
  int thick = 0;
  for (const Image& image : images) {
    along += across ? image.width() : image.height();
    thick = std::max(thick, across ? image.height() : image.width());
  }
  if (along > kMaxSide) fail<ValueError>(name, ": ", along, " pixels in a row; at most ", kMaxSide);
  const int length = static_cast<int>(along);
  Image sheet = across ? Image(length, thick) : Image(thick, length);
  int at = 0;
  for (const Image& image : images) {
    if (across) {
      paste(sheet, image, at, (thick - image.height()) / 2);
    } else {
      paste(sheet, image, (thick - image.width()) / 2, at);
    }
    at += gap + (across ? image.width() : image.height());
  }
  return sheet;
}

}  // namespace

Image::Image(int width, int height, Color fill) : width_(width), height_(height) {
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide ||
      std::int64_t{width} * height > kMaxArea) {
    fail<ValueError>("plot: a picture of ", width, " x ", height, " pixels; sides go from 1 to ", kMaxSide,
                     " and the area to ", kMaxArea);
  }
  pixels_.assign(static_cast<std::size_t>(width) * static_cast<std::size_t>(height), fill);
}

std::size_t Image::index(int x, int y) const {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) {
    fail<IndexError>("plot: pixel (", x, ", ", y, ") is outside a picture of ", width_, " x ", height_);
  }
  return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x);
}

Color& Image::at(int x, int y) { return pixels_[index(x, y)]; }
const Color& Image::at(int x, int y) const { return pixels_[index(x, y)]; }

Image beside(const std::vector<Image>& images, int gap) { return compose(images, gap, true, "beside"); }
Image below(const std::vector<Image>& images, int gap) { return compose(images, gap, false, "below"); }

}  // namespace bobbin::plot
