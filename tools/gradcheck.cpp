#include <bobbin/gradcheck.h>

int main(int argc, char** argv) { return bobbin::gradcheck_main(argc, argv); }
