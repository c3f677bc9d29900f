"""The hub and sacrebleu's hosts are out of reach here: a loopback server has the same layouts."""

import functools
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pyarrow
import yaml
from huggingface_hub import constants
from loopback import loopback
from pyarrow import parquet
from sacrebleu.dataset import DATASETS
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from lmexp.targets import build

SECTION = yaml.safe_load((Path(__file__).parents[2] / "conf/data/wmt.yaml").read_text("utf-8"))[
    "data"
]["corpus"]
SHARDS = ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001")
LISTING = "/api/datasets/wmt/wmt14/tree/main/de-en"
FILES = "/datasets/wmt/wmt14/resolve/main/de-en"
ARCHIVE = "/wmt14/test-full.tgz"
SPLITS = ("train", "val", "test")


def table(name, rows=3):
    """Rows of a file of the hub: "train-00000 en 0" and "train-00000 de 0", and so on."""
    records = [{code: f"{name[:11]} {code} {n}" for code in ("de", "en")} for n in range(rows)]
    kind = pyarrow.struct([("de", pyarrow.string()), ("en", pyarrow.string())])
    return pyarrow.table({"translation": pyarrow.array(records, kind)})


def parquet_bytes(name):
    file = io.BytesIO()
    parquet.write_table(table(name), file)
    return file.getvalue()


@functools.cache  # gzip writes the time into it
def archive():
    """newstest2014 with two sentences, for both directions, as statmt.org packs it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for side, code in (("src", "en"), ("ref", "de"), ("src", "de"), ("ref", "en")):
            lines = "".join(f'<seg id="{n}">official {code}  {n} </seg>\n' for n in (1, 2))
            text = f'<doc docid="a" origlang="en">\n{lines}</doc>\n'.encode()
            info = tarfile.TarInfo(f"test-full/newstest2014-deen-{side}.{code}.sgm")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return file.getvalue()


def cut_off(tmp_path, monkeypatch):
    """A cache and a folder of sacrebleu of the test's own; nobody listens where the hub is."""
    monkeypatch.delenv("LMEXP_DATA", raising=False)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    official("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def official(url, folder, monkeypatch):
    """sacrebleu's own entry for wmt14/full, at another address and in another folder."""
    there = DATASETS["wmt14/full"].langpairs
    md5 = hashlib.md5(archive()).hexdigest()
    entry = FakeSGMLDataset("wmt14/full", [f"{url}{ARCHIVE}"], md5=[md5], langpairs=there)
    entry._outdir = str(folder / "sacrebleu/wmt14/full")
    entry._rawdir = f"{entry._outdir}/raw"
    monkeypatch.setitem(DATASETS, "wmt14/full", entry)


def serve_hub(tmp_path, monkeypatch):
    """Files by the paths that the hub and statmt.org give them."""
    files = {f"{FILES}/{name}.parquet": parquet_bytes(name) for name in SHARDS}
    entries = [
        {
            "type": "file",
            "oid": "0" * 40,
            "size": len(data),
            "path": path.removeprefix("/datasets/wmt/wmt14/resolve/main/"),
            "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134},
        }
        for path, data in files.items()
    ]
    unwanted = {"type": "file", "oid": "0" * 40, "size": 1, "path": "de-en/test-00000.parquet"}
    files |= {LISTING: json.dumps([unwanted, *entries]).encode(), ARCHIVE: archive()}
    with loopback(files) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        official(served.url, tmp_path, monkeypatch)
        yield served


def wmt(root=None, **changes):
    return build(SECTION | changes, root=None if root is None else str(root))


def pairs(corpus, split):
    return [tuple(pair)[:3] for pair in corpus.pairs(split)]
