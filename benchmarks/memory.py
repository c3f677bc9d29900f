"""Does memory grow with the corpus? Prepares and trains on 200 MB and on 2 GB of text.

    python benchmarks/memory.py
    python benchmarks/memory.py --megabytes 20 200 trainer.max_steps=10    # quicker; more overrides

Each size is a text of lines of Zipf-distributed made-up words, written to a temporary folder and
given to `python train.py` with an empty cache, so that reading, fitting the tokenizer, tokenising,
training, validation and test are all in it. Memory is the anonymous part (RssAnon) summed over all
processes of the run, sampled ten times a second: pages of mapped files, which the system takes back
when it needs them, do not count. Exits with 1 if the larger text took over 300 MB more.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_MEGABYTES = 300
SAMPLE_SECONDS = 0.1
TINY = [
    "model=transformer",
    "model.d_model=32",
    "model.num_layers=1",
    "model.num_heads=2",
    "model.num_kv_heads=2",
    "model.d_ff=64",
    "data=text",
    "data.max_length=64",
    "data.batch_size=16",
    "data.corpus.val_fraction=0.001",
    "data.corpus.test_fraction=0.001",
    "tokenizer=bpe",
    "tokenizer.vocab_size=2000",
    "tokenizer.sample_bytes=20000000",
    "trainer.max_steps=100",
    "trainer.validate_every_steps=50",
    "trainer.checkpoint_every_steps=50",
]


class Usage(NamedTuple):
    """What a run took."""

    peak_megabytes: float
    seconds: float


def main() -> int:
    """Run both sizes and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs=2, default=(200, 2000))
    parser.add_argument(
        "--folder", type=Path, help="for texts and caches; needs 4 times the larger"
    )
    parser.add_argument("overrides", nargs="*", help="more overrides of train.py")
    args = parser.parse_args()
    peaks = []
    print(f"{'text, MB':>10}{'peak anonymous memory, MB':>28}{'seconds':>10}", flush=True)
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            write_text(Path(folder) / "text.txt", megabytes * 1_000_000)
            usage = train(Path(folder), args.overrides)
        peaks.append(usage.peak_megabytes)
        print(f"{megabytes:>10,}{usage.peak_megabytes:>28,.0f}{usage.seconds:>10,.0f}", flush=True)
    difference = peaks[1] - peaks[0]
    print(f"difference: {difference:,.0f} MB, allowed: {ALLOWED_MEGABYTES} MB")
    return int(difference > ALLOWED_MEGABYTES)


def write_text(path: Path, num_bytes: int) -> None:
    """Lines of a dozen words, all different, with a blank line after every 20."""
    generator = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = np.array(
        ["".join(generator.choice(letters, size)) for size in generator.integers(2, 10, 30_000)]
    )
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < num_bytes:
            chosen = words[generator.zipf(1.2, size=(10_000, 12)) % len(words)]
            for number, line in enumerate(chosen.tolist()):
                file.write(" ".join(line) + ("\n\n" if number % 20 == 19 else "\n"))


def train(folder: Path, overrides: list[str]) -> Usage:
    """Run train.py on the text of a folder; raises CalledProcessError if it fails."""
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        *TINY,
        f"data.files={folder / 'text.txt'}",
        f"hydra.run.dir={folder / 'run'}",
        *overrides,
    ]
    environment = {**os.environ, "LMEXP_CACHE": str(folder / "cache")}
    started, peak = time.monotonic(), 0.0
    with (folder / "output").open("w+") as output:
        run = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while run.poll() is None:
            peak = max(peak, anonymous_megabytes(run.pid))
            time.sleep(SAMPLE_SECONDS)
        if run.returncode:
            output.seek(0)
            print(output.read(), file=sys.stderr)
            raise subprocess.CalledProcessError(run.returncode, command)
    return Usage(peak, time.monotonic() - started)


def anonymous_megabytes(root: int) -> float:
    """RssAnon of a process and all that descend from it."""
    parents, memory = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        fields = dict(line.split(":", 1) for line in lines)
        pid = int(status.parent.name)
        parents[pid] = int(fields["PPid"])
        memory[pid] = int(fields.get("RssAnon", "0 kB").split()[0]) / 1000
    return sum(megabytes for pid, megabytes in memory.items() if descends(pid, root, parents))


def descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    """Whether pid is root or a child of a child of it."""
    while pid != root and pid in parents:
        pid = parents[pid]
    return pid == root


if __name__ == "__main__":
    sys.exit(main())
