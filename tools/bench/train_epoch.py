"""The PyTorch side of train_epoch.cpp: the same network, data shapes and steps.
usage: train_epoch.py mlp|mlp-small|cnn sgd|adam THREADS EPOCHS; prints images a second, one number a line, and then how much
memory training took, in MB."""
import re
import sys
import time

import torch
import torch.nn.functional as F

network, optimizer_name, threads, epochs = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)
images, batch = 60000, 128
x, y = torch.rand(images, 784), torch.randint(0, 10, (images,))
nn = torch.nn
if network == "cnn":
    first = nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    model = nn.Sequential(*first, *second, nn.Linear(32 * 49, 10))
elif network == "mlp-small":
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
else:
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
if optimizer_name == "sgd":
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
else:
    optimizer = torch.optim.Adam(model.parameters())


def memory(name):
    """A line of /proc/self/status, in MB."""
    with open("/proc/self/status") as status:
        return int(re.search(rf"{name}:\s*(\d+)", status.read())[1]) / 1024


before = memory("VmRSS")
for _ in range(epochs):
    start = time.perf_counter()
    for i in range(0, images - batch + 1, batch):
        loss = F.cross_entropy(model(x[i : i + batch]), y[i : i + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(round(images // batch * batch / (time.perf_counter() - start)), flush=True)
print(round(memory("VmHWM") - before, 1))
