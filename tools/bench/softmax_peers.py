#!/usr/bin/env python3
"""What PyTorch (eager and torch.compile) and Triton kernels make of bench_softmax's work, measured as it does:
the median replay of captured graphs that go round buffers of at least four times the L2 cache, in GB/s of the fewest
bytes.

usage: softmax_peers.py [--json FILE] [--dtype both|f32|bf16|f16] [--only D] [--quick] [--seconds S]

Compiling takes longest: worker processes fill the caches on disk first. Where the seconds are over, torch.compile is
left out of the cells that remain, and the last line says so."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def no_gpu(why):
    print(f"softmax_peers: {why}", file=sys.stderr)
    sys.exit(5)


os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # each worker compiles by itself
os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")
try:
    import torch
    import torch._dynamo
    import torch._inductor.config
    import torch.nn.functional as F
    import triton
    from softmax_triton import triton_variants
except ImportError as e:
    no_gpu(e)

NAMES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def compiled(f):
    torch._dynamo.reset()  # or the ninth shape of one function would run eagerly
    return torch.compile(f, dynamic=False)


def softmax_into(x, o):
    o.copy_(torch.softmax(x, -1))


def softmax_backward_into(p, g, r):
    p32, g32 = p.float(), g.float()
    r.copy_(p32 * (g32 - (p32 * g32).sum(-1, keepdim=True)))


class Cell:
    """The buffers of one shape, and what is called on buffer i: methods() yields (kind, name, call)."""

    def __init__(self, N, D, dtype, buffers):
        self.N, self.D = N, D
        new = dict(device="cuda")
        self.x = [(torch.randn(N, D, **new) * 3).to(dtype) for _ in range(buffers)]
        self.g = [torch.randn(N, D, **new).to(dtype) for _ in range(buffers)]
        self.p = [torch.softmax(x, -1) for x in self.x]
        self.t = [torch.randint(0, D, (N,), **new) for _ in range(buffers)]
        self.out = [torch.empty_like(x) for x in self.x]
        self.losses = [torch.empty(N, **new) for _ in range(buffers)]
        self.leaf = [x.detach().requires_grad_() for x in self.x]
        self.results = [None] * buffers  # keeps gradients until the buffer's next turn

    def cross_entropy(self, f, i):
        loss = f(self.leaf[i], self.t[i])
        self.results[i] = (loss, torch.autograd.grad(loss, self.leaf[i])[0])

    def triton_cross_entropy(self, f, i):
        f(self.x[i], self.t[i], self.losses[i], self.out[i])
        self.results[i] = self.losses[i].mean()

    def methods(self, compile):
        x, p, g, out, dt = self.x, self.p, self.g, self.out, self.x[0].dtype
        backward = torch.ops.aten._softmax_backward_data.out
        yield "fwd", "eager", lambda i: torch.softmax(x[i], -1, out=out[i])
        yield "bwd", "eager", lambda i: backward(g[i], p[i], -1, dt, grad_input=out[i])
        yield "xent", "eager", lambda i: self.cross_entropy(F.cross_entropy, i)
        for name, forward, backward_, xent in triton_variants(self.N, self.D):
            yield "fwd", name, lambda i, f=forward: f(x[i], out[i])
            yield "bwd", name, lambda i, f=backward_: f(p[i], g[i], out[i])
            yield "xent", name, lambda i, f=xent: self.triton_cross_entropy(f, i)
        if compile:
            f = compiled(softmax_into)
            yield "fwd", "compile", lambda i, f=f: f(x[i], out[i])
            f = compiled(softmax_backward_into)
            yield "bwd", "compile", lambda i, f=f: f(p[i], g[i], out[i])
            f = compiled(lambda x, t: F.cross_entropy(x, t))
            yield "xent", "compile", lambda i, f=f: self.cross_entropy(f, i)


def graph_of(call, buffers, count):
    """The graph of `count` calls, after one call on each buffer."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for i in range(buffers):
            call(i)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        graph.capture_begin()
        try:
            for k in range(count):
                call(k % buffers)
        finally:
            graph.capture_end()
    torch.cuda.synchronize()
    return graph


def microseconds(graph):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3


def measure(N, D, dtype, rounds, compile):
    size = N * D * torch.empty((), dtype=NAMES[dtype]).element_size()
    l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
    buffers = min(512, max(2, -(-4 * l2 // (2 * size))))
    count = -(-int(max(30, 2000 / (2 * size / 3e6 + 2))) // buffers) * buffers
    cell = Cell(N, D, NAMES[dtype], buffers)
    row = dict(dtype=dtype, N=N, D=D, buffers=buffers, calls=count)
    graphs = {}
    for kind, name, call in cell.methods(compile):
        try:
            graphs[kind, name] = graph_of(call, buffers, count)
        except Exception as e:  # a kernel that does not fit: a peer less, and the table says so
            torch.cuda.synchronize()
            row[f"{kind}, {name}: failed"] = str(e).strip().splitlines()[0][:120]
    times = {key: [min(microseconds(graph) for _ in range(2))] for key, graph in graphs.items()}
    best = {kind: min(t[0] for key, t in times.items() if key[0] == kind) for kind, _ in times}
    for _ in range(rounds):
        for key, graph in graphs.items():
            if key[1] == "eager" or times[key][0] < 1.5 * best[key[0]]:  # the others are out of the race
                times[key].append(microseconds(graph))
    for (kind, name), t in times.items():
        us = statistics.median(t) / count
        row[f"{kind}, {name}"] = dict(us=us, gbs=(3 if kind == "bwd" else 2) * size / us / 1e3)
    return row


def grid(quick, dtype, only):
    sizes = [16, 32, 64, 128, 256, 512, 781, 1000, 1024, 2048, 4096, 5000, 8192, 16384]
    sizes += [32768, 50257, 65536, 128256, 131072, 262144]
    if quick:
        sizes = [64, 781, 1024, 8192, 50257, 262144]
    shapes = [(2**25 // D, D) for D in sizes] + [(8, 128256), (64, 32000)]
    if not quick:
        shapes += [(1, 262144), (128, 1000), (1024, 1024)]
    dtypes = ("f32", "bf16") if dtype == "both" else (dtype,)
    return [(N, D, t) for t in dtypes for N, D in shapes if only in (0, D)]


def fill_caches(cells, part, parts):
    """Calls every `parts`-th method of all cells once, from the `part`-th on."""
    for k, (N, D, dtype) in enumerate(cells):
        if k % parts != part:
            continue
        for _, _, call in Cell(N, D, NAMES[dtype], 1).methods(True):
            try:
                call(0)
            except Exception:  # measure() reports it
                pass
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--dtype", default="both", choices=("both", *NAMES))
    parser.add_argument("--only", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--fill", help=argparse.SUPPRESS)  # PART/PARTS: this is a worker
    options = parser.parse_args()
    if not torch.cuda.is_available():
        no_gpu("PyTorch sees no GPU")
    torch.manual_seed(0)
    # Workers time kernels beside each other: what they chose must not be kept.
    if hasattr(torch._inductor.config, "autotune_local_cache"):
        torch._inductor.config.autotune_local_cache = False
    cells = grid(options.quick, options.dtype, options.only)
    if options.fill:
        return fill_caches(cells, *map(int, options.fill.split("/")))

    began = time.monotonic()
    parts = max(1, min(len(cells), (os.cpu_count() or 1) - 2, 14))
    command = [sys.executable, *sys.argv, "--fill"]
    workers = [subprocess.Popen(command + [f"{i}/{parts}"], stderr=subprocess.DEVNULL) for i in range(parts)]
    for w in workers:
        try:
            w.wait(max(1, options.seconds / 2 - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            w.kill()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Triton {triton.__version__}; "
          f"caches filled in {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    rows, uncompiled = [], 0
    for N, D, dtype in cells:
        compile = time.monotonic() - began < options.seconds
        uncompiled += not compile
        row = measure(N, D, dtype, 7 if options.quick else 20, compile)
        rows.append(row)
        best = {}
        for key, value in row.items():
            if isinstance(value, dict):
                kind, name = key.split(", ", 1)
                best[kind] = max(best.get(kind, (0, "")), (round(value["gbs"]), name))
        print(dtype, N, D, "  ".join(f"{kind} {gbs} ({name})" for kind, (gbs, name) in best.items()), flush=True)
        torch.cuda.empty_cache()
    if uncompiled:
        print(f"torch.compile was left out of {uncompiled} cells: {options.seconds:.0f} seconds were over")
    if options.json:
        with open(options.json, "w") as file:
            versions = dict(device=torch.cuda.get_device_name(), torch=torch.__version__, triton=triton.__version__)
            json.dump(dict(versions, uncompiled=uncompiled, rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
