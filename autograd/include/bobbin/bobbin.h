// Includes all headers of the parts of Bobbin that are built; config.h defines which parts these are.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/capture.h>
#include <bobbin/checkpoint.h>
#include <bobbin/config.h>
#include <bobbin/data.h>
#include <bobbin/distributed.h>
#include <bobbin/graphviz.h>
#include <bobbin/init.h>
#include <bobbin/layers.h>
#include <bobbin/metrics.h>
#include <bobbin/module.h>
#include <bobbin/ops.h>
#include <bobbin/optim.h>
#include <bobbin/parallel.h>
#include <bobbin/profile.h>
#include <bobbin/random.h>
#include <bobbin/rnn.h>
#include <bobbin/schedule.h>
#include <bobbin/state.h>
#include <bobbin/stream.h>
#if BOBBIN_WITH_FORMATS
#include <bobbin/data_files.h>
#include <bobbin/safetensors.h>
#include <bobbin/saving.h>
#endif
#if BOBBIN_WITH_PLOT
#include <bobbin/plot.h>
#endif
#if BOBBIN_WITH_ONNX
#include <bobbin/onnx.h>
#endif
#if BOBBIN_WITH_GRADCHECK
#include <bobbin/gradcheck.h>
#endif
