// Reading, printing and checking a Device.
#include <bobbin/device.h>
#include <bobbin/error.h>

#include <charconv>

namespace bobbin {

Device Device::parse(std::string_view text) {
  if (text == "cpu") return cpu();
  if (text == "cuda") return cuda();
  if (text.starts_with("cuda:") && !text.starts_with("cuda:-")) {
    int index = -1;
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (error == std::errc() && end == text.data() + text.size() && index >= 0 && index < 1024)
      return cuda(index);
  }
  fail<ValueError>("device: expected cpu, cuda or cuda:N; got '", text, "'");
}

std::ostream& operator<<(std::ostream& out, Device d) {
  return d.is_cpu() ? out << "cpu" : out << "cuda:" << d.index;
}

void detail::require_cuda(Device d) {
  if (d.index >= 0 && d.index < device_count()) return;
  std::string why;
  if (!cuda_available(&why)) fail<DeviceError>("device ", d, " cannot be used: ", why);
  fail<DeviceError>("device ", d, " cannot be used: there are ", device_count(), " GPUs here");
}

}  // namespace bobbin
