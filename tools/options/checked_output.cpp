// Makes a program whose standard output could not be written end with status 4 instead of 0. Linked into
// every example and tool, it works from before main() until exit().
#include <errno.h>  // program_invocation_short_name
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

void check_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  std::fprintf(stderr, "%s: standard output cannot be written%s%s\n", program_invocation_short_name,
               errno ? ": " : "", errno ? std::strerror(errno) : "");
  std::_Exit(4);
}

struct CheckedOutput {
  CheckedOutput() {
    // A stream that is closed gets a descriptor on which it fails: a file that the program opens would get
    // the number of the stream, and its text.
    for (int fd = 0; fd < 3; ++fd)
      if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) (void)open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY);
    std::atexit(check_output);
  }
} checked_output;

}  // namespace
