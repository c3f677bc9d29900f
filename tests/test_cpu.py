import subprocess
import sys

import pytest

CODE = """
import resource
from lmexp.cpu import cure_allocator

cured = cure_allocator()
import torch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

block = None
for _ in range(50):
    block = torch.ones(2**24)  # 64 MB, above what glibc serves from its heap by itself
before = faults()
for _ in range(8):
    block = torch.ones(2**24)
print(int(cured), faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_a_cured_allocator_does_not_fault_freed_memory_in_again():
    cured, faults = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True
    ).stdout.split()

    if cured == "0":
        pytest.skip("not glibc")
    assert int(faults) < 8 * 2**26 // 4096 / 10  # uncured: all 16,384 pages each time
