#!/usr/bin/env python3
"""Training steps of an MLP and a CNN on a GPU, and the cost of one small operation: Bobbin beside PyTorch.

usage: compare_mnist.py PATH_OF_BENCH_MNIST [--python PYTHON] [--out DIR] [--epochs N] [--read]

PYTHON is an interpreter that has torch. DIR gets mnist_bobbin.json, mnist_peers.json and mnist.png; with --read, the
two JSON files there are read and nothing is measured. The picture is drawn by bench_chart, beside bench_mnist."""
import argparse
import json
import pathlib
import subprocess
import sys

STEPS = {("mlp", 128): 16, ("mlp", 512): 20}  # goals of captured steps, in microseconds
CNN, LAUNCH = 1.5, 4  # the CNN against PyTorch's captured step at batch 512; microseconds of a small operation


def cells(side):
    return dict.fromkeys((s["network"], s["batch"]) for s in side["steps"])


def modes_of(side, network, batch, what="us"):
    return {s["mode"]: s[what] for s in side["steps"] if (s["network"], s["batch"]) == (network, batch)}


def captured(side, network, batch):
    """The fastest of the captured ways."""
    return min(us for mode, us in modes_of(side, network, batch).items() if mode.endswith(("captured", "at once")))


def table(ours, peers):
    own_modes, modes = (list(dict.fromkeys(s["mode"] for s in side["steps"])) for side in (ours, peers))
    print("Training with Adam, batches gathered on the GPU: microseconds a step\n")
    heads = ["network", "batch", *(f"bobbin {m}" for m in own_modes), *(f"PyTorch {m}" for m in modes), "ratio of the best"]
    print("|", " | ".join(heads), "|")
    print("|---" * len(heads) + "|")
    for network, batch in cells(ours):
        own, theirs = (modes_of(side, network, batch) for side in (ours, peers))
        row = [own.get(m) for m in own_modes] + [theirs.get(m) for m in modes]
        ratio = f"{min(theirs.values()) / min(own.values()):.2f}" if theirs else "-"
        print("|", network, "|", batch, "|", " | ".join(f"{c:.1f}" if c else "-" for c in row), "|", ratio, "|")
    print("\nHost time of an epoch, until all is enqueued: microseconds, and allocations\n")
    print("| network | batch |", " | ".join(f"bobbin {m}" for m in own_modes), "|")
    print("|---" * (2 + len(own_modes)) + "|")
    for network, batch in cells(ours):
        host = modes_of(ours, network, batch, "host")
        allocations = modes_of(ours, network, batch, "allocations")
        print("|", network, "|", batch, "|", " | ".join(f"{host[m]:.0f}, {allocations[m]}" for m in own_modes), "|")
    print("\nMemory besides the images, at most: MB\n\n| network | batch | bobbin captured | bobbin eager | PyTorch captured | PyTorch eager |")
    print("|---" * 6 + "|")
    for network, batch in cells(ours):
        row = [modes_of(side, network, batch, "mb").get(mode) for side in (ours, peers) for mode in ("captured", "eager")]
        print("|", network, "|", batch, "|", " | ".join(f"{c:.1f}" if c else "-" for c in row), "|")
    print("\nHost time of one operation, enqueued without waiting: microseconds\n")
    print("| | bobbin, recorded | PyTorch, recorded | bobbin | PyTorch |\n|---|---|---|---|---|")
    for what in ours["launch"]["recorded"]:
        row = [side["launch"][how].get(what) for how in ("recorded", "unrecorded") for side in (ours, peers)]
        print("|", what, "|", " | ".join(f"{c:.2f}" if c else "-" for c in row), "|")


def judge(ours, peers):
    for (network, batch), most in STEPS.items():
        us = captured(ours, network, batch)
        print(f"{'ok' if us <= most else 'MISS':5} {network}, a captured step of {batch}, at most {most} us: {us:.1f}")
    ratio = modes_of(peers, "cnn", 512).get("captured", 0) / captured(ours, "cnn", 512)
    print(f"{'ok' if ratio >= CNN else 'MISS':5} cnn, batch 512 captured, at least {CNN} times PyTorch's: {ratio:.2f}")
    what, us = max(ours["launch"]["recorded"].items(), key=lambda x: x[1])
    mark = "ok" if us <= LAUNCH else "MISS"
    print(f"{mark:5} a small operation with recording, at most {LAUNCH} us: {us:.2f} ({what})")


def draw(ours, peers, program, out):
    charts = []
    for network, batch in cells(ours):
        steps = {f"bobbin {m}": us for m, us in modes_of(ours, network, batch).items()}
        steps |= {f"PyTorch {m}": us for m, us in modes_of(peers, network, batch).items()}
        title = f"{network} step, batch {batch}"
        charts.append(dict(title=title, y_label="microseconds", names=list(steps), values=list(steps.values())))
    (out / "charts.json").write_text(json.dumps(dict(charts=[charts[:2], charts[2:]])))
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
    judge(ours, peers)
    draw(ours, peers, pathlib.Path(options.program).with_name("bench_chart"), out)


if __name__ == "__main__":
    main()
