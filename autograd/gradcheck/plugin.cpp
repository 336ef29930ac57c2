#include "autograd/gradcheck/plugin.h"

#include <bobbin/error.h>
#include <dlfcn.h>

namespace bobbin::gradcheck_detail {

void load_plugin(const std::filesystem::path& path) {
  // A name without a slash would be looked for where libraries are, not here.
  const auto whole = std::filesystem::absolute(path);
  void* const object = dlopen(whole.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!object) fail<IoError>("gradcheck --plugin: ", dlerror());
  auto* const enter = reinterpret_cast<void (*)()>(dlsym(object, "bobbin_register"));
  if (!enter)
    fail<IoError>("gradcheck --plugin: '", path.string(),
                  "' has no function extern \"C\" void bobbin_register()");
  enter();
}

}  // namespace bobbin::gradcheck_detail
