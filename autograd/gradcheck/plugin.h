// Operations and models of a user's own, from a shared object.
#pragma once
#include <filesystem>

namespace bobbin::gradcheck_detail {

/// Opens the shared object and calls its `extern "C" void bobbin_register()`, which calls register_op and
/// register_model. It stays open. Throws IoError where it cannot be opened or has no such function.
void load_plugin(const std::filesystem::path&);

}  // namespace bobbin::gradcheck_detail
