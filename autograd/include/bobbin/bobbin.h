// All of Bobbin.
#pragma once
#include <bobbin/autograd.h>
#include <bobbin/capture.h>
#include <bobbin/checkpoint.h>
#include <bobbin/data.h>
#include <bobbin/gradcheck.h>
#include <bobbin/graphviz.h>
#include <bobbin/layers.h>
#include <bobbin/ops.h>
#include <bobbin/optim.h>
#include <bobbin/parallel.h>
#include <bobbin/plot.h>
#include <bobbin/random.h>
#include <bobbin/safetensors.h>
#include <bobbin/saving.h>
#include <bobbin/schedule.h>
#include <bobbin/stream.h>
