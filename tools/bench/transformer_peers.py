#!/usr/bin/env python3
"""What PyTorch makes of bench_transformer's rows, measured as it does: eager, torch.compile, each backend of its attention,
and with deterministic algorithms.

usage: transformer_peers.py [--device cuda|cpu] [--only TEXT] [--threads N] [--quick] [--json FILE] [--seconds S]

A row is the median of rounds of at least 20 ms. On a GPU it is a captured graph that goes round buffers of at least 200 MB
together (at most 32). Where the seconds are over, torch.compile is left out of the rows that remain."""
import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from gpt2_torch import Gpt2
from torch_clock import Clock

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
parser.add_argument("--only", default="")
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--quick", action="store_true")
parser.add_argument("--json")
parser.add_argument("--seconds", type=float, default=600)
options = parser.parse_args()
device, on_gpu = options.device, options.device == "cuda"
NAMES = {torch.bfloat16: "bf16", torch.float32: "f32"}
rows, began = [], time.monotonic()
clock = Clock(on_gpu, 5 if options.quick else 15)


def wanted(name):
    return options.only in name


def late():
    return time.monotonic() - began > options.seconds


def measured(name, peer, make, bytes_):
    """A figure of one peer in one row: make() makes the operands of a buffer and returns the call that uses them."""
    if not wanted(name) or ("compile" in peer and late()):
        return
    try:
        if on_gpu:
            torch.cuda.empty_cache()
        calls = [make() for _ in range(min(32, max(1, -(-200_000_000 // bytes_))) if on_gpu else 1)]

        def everything():
            for call in calls:
                call()

        everything()
        mb = clock.peak(calls[0])
        graph = clock.graph_of(everything).replay if on_gpu else everything
        add(name, peer, clock.median(graph) / len(calls), mb)
    except Exception as e:  # a backend that does not take this call: a peer less
        print(f"{name}, {peer}: {str(e).strip().splitlines()[0][:120]}", flush=True)


def add(name, peer, us, mb):
    print(f"{name:<48} {peer:<24} {us:>10.1f} us" + (f" {mb:>9.1f} MB" if mb is not None else ""), flush=True)
    rows.append(dict(name=name, peer=peer, us=us, mb=mb))


def compiled(f):
    torch._dynamo.reset()
    return torch.compile(f, dynamic=False)


def leaf(*shape, dtype, scale=1):
    return (torch.randn(*shape, device=device) * scale).to(dtype).requires_grad_()


def both(name, bytes_, operands, peers, forward=True):
    """The rows of a call without a tape, and with the gradients of its operands."""
    for peer, f in peers.items():

        def quiet(f=f):
            x = operands()

            def call():
                with torch.no_grad():
                    f(*x)

            return call

        def with_gradients(f=f):
            x = operands()
            with torch.no_grad():
                y = f(*x)
            g = torch.randn_like(y) if y.dim() else None
            return lambda: torch.autograd.grad(f(*x), x, g)

        if forward:
            measured(name + ", forward", peer, quiet, bytes_)
        measured(name + ", both", peer, with_gradients, bytes_)


def attention(n, heads, length, size, dtype):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def default(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def backend(which):
        def call(q, k, v):
            with sdpa_kernel(which):
                return default(q, k, v)

        return call

    peers = {"default": default}
    if on_gpu:
        if dtype == torch.bfloat16:
            peers["flash"] = backend(SDPBackend.FLASH_ATTENTION)
            peers["cudnn"] = backend(SDPBackend.CUDNN_ATTENTION)
        peers["efficient"] = backend(SDPBackend.EFFICIENT_ATTENTION)
    name = f"attention causal {n}x{heads}x{length}x{size} {NAMES[dtype]}"
    bytes_ = 4 * n * heads * length * size * dtype.itemsize

    def operands():
        return [leaf(n, heads, length, size, dtype=dtype) for _ in range(3)]

    both(name, bytes_, operands, peers)
    if on_gpu and dtype == torch.bfloat16:
        torch.use_deterministic_algorithms(True)
        both(name, bytes_, operands, {f"{peer}, deterministic": f for peer, f in peers.items()})
        torch.use_deterministic_algorithms(False)


def norms(n, columns, dtype):
    bytes_, of = 2 * n * columns * dtype.itemsize, f" {n}x{columns} {NAMES[dtype]}"

    def layer_norm(x, w, b):
        return F.layer_norm(x, (columns,), w, b)

    def rms_norm(x, w):
        return F.rms_norm(x, (columns,), w)

    for name, f, parameters in (("layer_norm", layer_norm, 2), ("rms_norm", rms_norm, 1), ("gelu", F.gelu, 0)):

        def operands(parameters=parameters):
            return [leaf(n, columns, dtype=dtype)] + [leaf(columns, dtype=dtype) for _ in range(parameters)]

        both(name + of, bytes_, operands, peers_of(f), name != "gelu")


def peers_of(f):
    return {"eager": f, "compile": compiled(f)} if on_gpu else {"eager": f}


def head(n, size, vocabulary):
    target = torch.randint(0, vocabulary, (n,), device=device)

    def operands():
        return [leaf(n, size, dtype=torch.bfloat16), leaf(vocabulary, size, dtype=torch.bfloat16, scale=0.02)]

    def loss(x, w):
        return F.cross_entropy(F.linear(x, w), target)

    both(f"head + cross-entropy {n}x{size}x{vocabulary} bf16", 200_000_000, operands, peers_of(loss), False)


def softmax_rows(shape, axis, dtype):
    name = f"softmax {'x'.join(map(str, shape))} axis {axis} {NAMES[dtype]}"
    bytes_ = 2 * torch.Size(shape).numel() * dtype.itemsize
    derivative = torch.ops.aten._softmax_backward_data

    def forward(x, o):
        o.copy_(torch.softmax(x, axis))

    def backward(p, g, r):
        p32, g32 = p.float(), g.float()
        r.copy_(p32 * (g32 - (p32 * g32).sum(axis, keepdim=True)))

    def operand(scale=1):
        return leaf(*shape, dtype=dtype, scale=scale).detach()

    def on_forward(f):
        def make():
            x, o = operand(3), operand()
            return lambda: f(x, o)

        return make

    def on_backward(f):
        def make():
            p, g, r = torch.softmax(operand(3), axis), operand(), operand()
            return lambda: f(p, g, r)

        return make

    def eager_forward(x, o):
        torch.softmax(x, axis, out=o)

    def eager_backward(p, g, r):
        derivative.out(g, p, axis, dtype, grad_input=r) if "out" in derivative.overloads() else derivative(g, p, axis, dtype)

    measured(name + ", forward", "eager", on_forward(eager_forward), bytes_)
    measured(name + ", backward", "eager", on_backward(eager_backward), bytes_)
    if not on_gpu or not wanted(name):
        return
    measured(name + ", forward", "compile", on_forward(compiled(forward)), bytes_)
    measured(name + ", backward", "compile", on_backward(compiled(backward)), bytes_)
    if axis == len(shape) - 1:
        from softmax_triton import triton_variants

        for variant, f, b, _ in triton_variants(*shape):
            measured(name + ", forward", variant, on_forward(f), bytes_)
            measured(name + ", backward", variant, on_backward(b), bytes_)


def gpt2():
    of = "GPT-2 small, a step of 8x1024 tokens"
    for peer, compile in (("compile", True), ("eager", False)):
        if not (wanted(of + ", eager") or wanted(of + ", captured")) or (compile and late()):
            continue
        torch.cuda.empty_cache()
        model = Gpt2().to(device)
        adam = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=True)
        ids, targets = (torch.randint(0, 50257, (8, 1024), device=device) for _ in range(2))
        run = compiled(model) if compile else model

        def step():
            with torch.autocast(device, dtype=torch.bfloat16):
                loss = run(ids, targets)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            adam.step()

        for _ in range(3):
            step()
        add(of + ", eager", peer, clock.median(step), clock.peak(step, whole=True))
        try:
            graph = clock.graph_of(step)
            add(of + ", captured", peer, clock.median(graph.replay), None)  # a replay allocates nothing
            del graph
        except Exception as e:
            print(f"{of}, captured, {peer}: {str(e).strip().splitlines()[0][:120]}", flush=True)
        del model, adam, run, step


def main():
    if on_gpu and not torch.cuda.is_available():
        print("transformer_peers: PyTorch sees no GPU", file=sys.stderr)
        sys.exit(5)
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    f32, bf16 = torch.float32, torch.bfloat16
    if on_gpu:
        attention(4, 16, 1024, 64, bf16)
        attention(4, 16, 4096, 64, bf16)
        attention(1, 16, 8192, 128, bf16)
        attention(4, 16, 1024, 64, f32)
        for dtype in (f32, bf16):
            norms(8192, 4096, dtype)
        head(8192, 768, 50257)
        if not options.quick:
            head(8192, 2048, 128256)
        for dtype in (f32, bf16):
            for length in (65, 333, 777, 1001, 2049, 4095):
                if not options.quick or length == 777:
                    softmax_rows((2**25 // length, length), 1, dtype)
        softmax_rows((8, 50257, 128), 1, f32)
        gpt2()
    else:
        attention(1, 8, 512, 64, f32)
        norms(1024, 4096, f32)
        softmax_rows((1024, 4096), 0, f32)
        softmax_rows((2**18, 16), 1, f32)
    if options.json:
        with open(options.json, "w") as file:
            name = torch.cuda.get_device_name() if on_gpu else "the CPU"
            json.dump(dict(device=name, torch=torch.__version__, threads=torch.get_num_threads(), rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
