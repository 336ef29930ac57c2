"""The PyTorch side of mlp_epoch.cpp: the same model, data shapes and steps.
usage: mlp_epoch.py sgd|adam THREADS EPOCHS; prints images a second, one number a line."""
import sys
import time

import torch
import torch.nn.functional as F

optimizer_name, threads, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(0)
images, batch = 60000, 128
x, y = torch.rand(images, 784), torch.randint(0, 10, (images,))
model = torch.nn.Sequential(
    torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
)
if optimizer_name == "sgd":
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
else:
    optimizer = torch.optim.Adam(model.parameters())
for _ in range(epochs):
    start = time.perf_counter()
    for i in range(0, images - batch + 1, batch):
        loss = F.cross_entropy(model(x[i : i + batch]), y[i : i + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(round(images // batch * batch / (time.perf_counter() - start)), flush=True)
