"""Folders of runs that were never trained, as `compare` reads them."""

import copy
import json
from pathlib import Path

import numpy as np
import yaml

from lmexp.example_scores import ExampleScores, write_scores
from lmexp.sweep.manifest import Job, Manifest, write_job

RECIPE = {
    "model": {"_target_": "lmexp.networks.recurrent.Recurrent", "cell": "lstm", "d_model": 512},
    "data": {"_target_": "lmexp.data.TextDataModule", "max_length": 256},
    "eval": {"_target_": "lmexp.data.EvalWindows", "context": None, "stride": None, "carry": False},
    "task": {"_target_": "lmexp.tasks.causal_lm.CausalLM"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
    "trainer": {"max_steps": 100, "devices": "auto"},
    "name": "lstm-text",
    "seed": 0,
}
SIGNATURE = {
    "checkpoint": "best.ckpt",
    "step": 100,
    "data": "text",
    "data_hash": "d" * 64,
    "tokenizer_hash": "t" * 64,
    "eval.context": 256,
    "eval.stride": 256,
    "eval.carry": False,
    "split": "test",
    "precision": "32-true",
}
SUMMARY = {
    "status": "finished",
    "text_kind": "text",
    "monitor": "loss",
    "tokens": 1000,
    "step": 100,
    "seconds": 60.0,
    "parameters": 2_000_000,
    "flops_per_token": 3e6,
    "train/peak_memory_bytes": 2**30,
}
CELLS = {"model=lstm": "lstm", "model=gru": "gru", "model=rnn": "rnn"}


def recipe(seed=0, **values):
    """The recipe with other values, by dotted key with __ for the dot."""
    made = copy.deepcopy(RECIPE) | {"seed": seed}
    for key, value in values.items():
        *sections, last = key.split("__")
        inner = made
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return made


def make_run(folder: Path, figures, *, own_recipe=None, curve=(), summary=None, signature=None):
    """A run's folder; of scores.json only the signature is given, with one statistic of nats."""
    folder.mkdir(parents=True)
    own = own_recipe or recipe()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    (folder / "summary.json").write_text(json.dumps(SUMMARY | figures | (summary or {})))
    facts = {name: SIGNATURE[name] for name in ("data_hash", "tokenizer_hash")}
    (folder / "environment.json").write_text(json.dumps({"data": facts}))
    lines = [json.dumps({"step": step, "val/loss": value}) for step, value in curve]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if signature is not None:
        nats = np.full(40, figures.get("test/loss", 1.0))
        write_text_scores(folder, nats, signature)
    return folder


def write_text_scores(folder: Path, nats, signature=SIGNATURE, keys=None, unit="document"):
    """Scores of documents, or other examples, of one token each; nats are (N,)."""
    nats = np.asarray(nats, np.float64)
    keys = np.arange(len(nats), dtype=np.uint64) if keys is None else keys
    metrics = {"loss": {"formula": "ratio", "of": ["nats", "tokens"]}}
    statistics = {"nats": nats, "tokens": np.ones(len(nats))}
    write_scores(folder, ExampleScores(keys, statistics, metrics, unit), signature)


def make_sweep(folder: Path, losses, *, key="test/loss", curve=(), examples=None):
    """A finished sweep: by override, such as model=lstm, a loss for each of the seeds 1, 2, …

    Args:
        folder: of the sweep.
        losses: by override.
        key: the figure that they are of.
        curve: of every run.
        examples: losses of N documents by override and seed; their mean is the run's figure.
    """
    jobs = []
    folder.mkdir(parents=True)
    for override, own in losses.items():
        for seed, loss in enumerate(own, start=1):
            job = Job(f"{len(jobs):02}", [override, f"seed={seed}"], status="finished")
            jobs.append(job)
            run = folder / job.folder
            made = recipe(seed, model__cell=CELLS[override])
            make_run(run, {key: loss}, own_recipe=made, curve=curve)
            write_job(job, run)
            if examples is not None:
                write_text_scores(run, examples[override][seed - 1])
    Manifest(folder, jobs, {}, "code").write()
    return folder
