"""Sums of gradients over two ranks, in many small buckets, against arithmetic."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import torch
from lmexp import gradient_sum
from lmexp.ranks import join, leave

gradient_sum.BUCKET_BYTES = 40  # of ten float32
rank = int(sys.argv[1])
ranks = join("cpu")
torch.manual_seed(0)
shapes = [(3, 4), (5,), (2, 2), (7,), (1,), (6, 2)]
parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
parameters.insert(3, torch.nn.Parameter(torch.randn(4).to(torch.bfloat16)))
of_one, of_none = parameters[1], parameters[4]  # the gradients that rank 1 alone has, and nobody
total = gradient_sum.GradientSum(parameters)


def backward(factor):
    used = [p for p in parameters if p is not of_none and (p is not of_one or rank == 1)]
    sum((p * p).sum().float() for p in used).mul(factor * (rank + 1)).backward()


def check(expected_factor):
    for p in parameters:
        if p is of_none:
            assert p.grad is None
            continue
        share = 2 if p is of_one else 3  # rank 0 adds 1, rank 1 adds 2
        torch.testing.assert_close(p.grad, 2 * p.detach() * share * expected_factor)
        p.grad = None


backward(1.0)  # a micro-batch before the last: nothing is sent
total.begin()
backward(10.0)
total.finish()
check(11.0)
cat, calls = torch.cat, 0


def too_little(tensors, *args, **settings):
    global calls
    calls += 1
    if rank == 1 and calls == 1:
        raise torch.OutOfMemoryError("no room for the copy")
    return cat(tensors, *args, **settings)


torch.cat = too_little
total.begin()
try:
    backward(1.0)
except torch.OutOfMemoryError:
    assert rank == 1
total.finish()  # every rank has sent as much: nobody waits for ever
for p in parameters:
    p.grad = None
total.begin()
backward(5.0)
total.finish()
check(5.0)
total.finish()  # of a rank that had failed before begin()
leave()
print("done", calls > 6)
"""


def outputs(program: str, folder: Path) -> list[str]:
    """What two ranks print."""
    environment = {**os.environ, "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    environment["LMEXP_RENDEZVOUS"] = str(folder / "store")
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank)],
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    return printed


@pytest.mark.skipif(sys.platform != "linux", reason="gloo over lo is Linux's name for it")
def test_sums_over_buckets_types_unused_parameters_and_failures(tmp_path):
    assert outputs(PROGRAM, tmp_path) == ["done True\n", "done True\n"]
