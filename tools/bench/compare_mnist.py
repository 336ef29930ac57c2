#!/usr/bin/env python3
"""Training steps of the MNIST MLP on a GPU, and the cost of one small operation: Bobbin beside PyTorch.

usage: compare_mnist.py PATH_OF_BENCH_MNIST [--python PYTHON] [--out DIR] [--epochs N] [--read]

PYTHON is an interpreter that has torch. DIR gets mnist_bobbin.json, mnist_peers.json and mnist.png; with --read, the
two JSON files there are read and nothing is measured. The picture is drawn by bench_chart, beside bench_mnist."""
import argparse
import json
import pathlib
import subprocess
import sys

STEP, LAUNCH = 40, 4  # the targets, in microseconds: a captured step of batch 128; a small operation


def table(ours, peers):
    modes = list(dict.fromkeys(s["mode"] for s in peers["steps"]))
    print("MLP 784-256-128-10 with Adam, batches gathered on the GPU: microseconds a step\n")
    heads = ["batch", "bobbin captured", "bobbin eager", *(f"PyTorch {m}" for m in modes), "ratio to the best"]
    print("|", " | ".join(heads), "|")
    print("|---" * (len(modes) + 4) + "|")
    for batch in dict.fromkeys(s["batch"] for s in ours["steps"]):
        own = {s["mode"]: s["us"] for s in ours["steps"] if s["batch"] == batch}
        theirs = {s["mode"]: s["us"] for s in peers["steps"] if s["batch"] == batch}
        cells = [own["captured"], own["eager"]] + [theirs.get(m) for m in modes]
        best = min(theirs.values(), default=None)
        ratio = f"{best / own['captured']:.2f}" if best else "-"
        print("|", batch, "|", " | ".join(f"{c:.1f}" if c else "-" for c in cells), "|", ratio, "|")
    print("\nHost time of one operation, enqueued without waiting: microseconds\n")
    print("| | bobbin, recorded | PyTorch, recorded | bobbin | PyTorch |\n|---|---|---|---|---|")
    for what in ours["launch"]["recorded"]:
        cells = [side["launch"][how].get(what) for how in ("recorded", "unrecorded") for side in (ours, peers)]
        print("|", what, "|", " | ".join(f"{c:.2f}" if c else "-" for c in cells), "|")


def judge(ours):
    step = [s["us"] for s in ours["steps"] if s["batch"] == 128 and s["mode"] == "captured"]
    for us in step:
        print(f"{'ok' if us <= STEP else 'MISS':5} a captured step of batch 128, at most {STEP} us: {us:.1f}")
    what, us = max(ours["launch"]["recorded"].items(), key=lambda x: x[1])
    mark = "ok" if us <= LAUNCH else "MISS"
    print(f"{mark:5} a small operation with recording, at most {LAUNCH} us: {us:.2f} ({what})")


def draw(ours, peers, program, out):
    charts = []
    for batch in dict.fromkeys(s["batch"] for s in ours["steps"]):
        steps = [("bobbin", s) for s in ours["steps"]] + [("PyTorch", s) for s in peers["steps"]]
        steps = [(f"{who} {s['mode']}", s["us"]) for who, s in steps if s["batch"] == batch]
        names, values = zip(*steps)
        charts.append(dict(title=f"MLP step, batch {batch}", y_label="microseconds", names=names, values=values))
    (out / "charts.json").write_text(json.dumps(dict(charts=[charts])))
    if not program.exists():
        return print(f"no picture: there is no {program}")
    if subprocess.run([program, out / "charts.json", out / "mnist.png"]).returncode == 0:
        print(f"charts are in {out / 'mnist.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--read", action="store_true")
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    files = out / "mnist_bobbin.json", out / "mnist_peers.json"
    script = pathlib.Path(__file__).with_name("mnist_peers.py")
    for command, file in zip(([options.program], [options.python, str(script)]), files):
        if options.read:
            break
        code = subprocess.run([*command, "--epochs", str(options.epochs), "--json", str(file)]).returncode
        if code != 0:
            sys.exit(code)
    ours, peers = (json.loads(f.read_text()) for f in files)
    print(f"\n{peers['device']}, PyTorch {peers['torch']}\n")
    table(ours, peers)
    print()
    judge(ours)
    draw(ours, peers, pathlib.Path(options.program).with_name("bench_chart"), out)


if __name__ == "__main__":
    main()
