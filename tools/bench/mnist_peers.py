#!/usr/bin/env python3
"""PyTorch on bench_mnist's work: the same networks, optimizer, data and batches, and the same small operations.

usage: mnist_peers.py [--json FILE] [--batch 128,512] [--epochs N]

eager; captured: the whole step as one CUDA graph; compiled: torch.compile(mode="reduce-overhead") of the model;
both: a graph of the step with the model compiled."""
import argparse
import itertools
import json
import statistics
import sys
import time


def no_gpu(why):
    print(f"mnist_peers: {why}", file=sys.stderr)
    sys.exit(5)


try:
    import torch
    import torch._dynamo
    import torch.nn.functional as F
except ImportError as e:
    no_gpu(e)

MODES = ("eager", "captured", "compiled", "both")


def layers(nn, network):
    if network == "mlp":
        return nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    first = nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return *first, *second, nn.Linear(32 * 49, 10)


def step_cost(network, size, mode, epochs):
    """Microseconds a step, host and device together: the best of some epochs; and the MB allocated at most, besides the images."""
    nn, dev = torch.nn, "cuda"
    x, y = torch.rand(60000, 784, device=dev), torch.randint(0, 10, (60000,), device=dev)
    torch.cuda.reset_peak_memory_stats()
    data = torch.cuda.memory_allocated()
    model = nn.Sequential(*layers(nn, network)).to(dev)
    captures = "captured" in mode
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True, capturable=captures)
    batch = torch.zeros(size, dtype=torch.long, device=dev)
    torch._dynamo.reset()  # or the second batch size would be compiled for sizes of any kind
    call = model
    if mode == "compiled":
        call = torch.compile(model, mode="reduce-overhead", dynamic=False)
    elif mode == "both":
        call = torch.compile(model, dynamic=False)

    def step():
        loss = F.cross_entropy(call(x.index_select(0, batch)), y.index_select(0, batch))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    run = step
    if captures:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    else:
        for _ in range(3):
            step()
    best = float("inf")
    for _ in range(epochs):
        order = torch.randperm(60000, device=dev)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for i in range(60000 // size):
            batch.copy_(order[i * size : (i + 1) * size])
            run()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / (60000 // size) * 1e6)
    return best, (torch.cuda.max_memory_allocated() - data) / 1e6


def launch_cost(call):
    """Microseconds of the host for a call, of 1000 that are enqueued without waiting."""
    rounds = []
    for r in range(-2, 11):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(1000):
            call()
        if r >= 0:
            rounds.append((time.perf_counter() - start) * 1e3)
    return statistics.median(rounds)


def launch_costs(recorded):
    new = dict(device="cuda", requires_grad=recorded)
    x, y = torch.tensor([1.5], **new), torch.tensor([2.5], **new)
    a, b = torch.rand(8, 8, **new), torch.rand(8, 8, **new)
    calls = {"add": lambda: torch.add(x, y), "exp": lambda: torch.exp(x)}
    calls.update(softmax=lambda: torch.softmax(a, -1), matmul=lambda: torch.matmul(a, b))
    return {what: launch_cost(call) for what, call in calls.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--batch", default="128,512")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        no_gpu("PyTorch sees no GPU")
    torch.manual_seed(0)
    result = dict(device=torch.cuda.get_device_name(), torch=torch.__version__, steps=[], launch={})
    result["launch"] = dict(recorded=launch_costs(True), unrecorded=launch_costs(False))
    sizes = map(int, options.batch.split(","))
    for network, size, mode in itertools.product(("mlp", "cnn"), sizes, MODES):
        try:
            us, mb = step_cost(network, size, mode, options.epochs)
        except Exception as e:  # a peer less
            print(f"{network}, batch {size}, {mode}: {str(e).strip().splitlines()[0][:120]}", flush=True)
            continue
        print(f"PyTorch, {network}, batch {size}, {mode}: {us:.1f} us a step, {mb:.1f} MB", flush=True)
        result["steps"].append(dict(network=network, batch=size, mode=mode, us=us, mb=mb))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
