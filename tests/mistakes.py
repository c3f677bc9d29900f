"""The table of test_mistakes: what a user may type wrongly, and what the message has to name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Mistake(NamedTuple):
    """What is typed, and what the one line on stderr has to hold."""

    typed: str
    expected: tuple[str, ...]
    files: Mapping[str, str] = MappingProxyType({})


LSTM = """\
_target_: lmexp.networks.recurrent.Recurrent
cell: lstm
d_model: 8
num_layers: 1
dropout: 0.0
variational: false
tied: true
attention: dot
shares_embeddings: true
"""
ENCODER = """\
from dataclasses import dataclass
from logging import os as harmless


@dataclass(frozen=True)
class Encoder:
    width: int

    def encoder(self, vocab):
        raise AssertionError("a network was built")
"""


def in_file(group: str, text: str, *expected: str, options: str = "") -> Mistake:
    """A file of the user's own, chosen."""
    typed = f"--config-dir my_conf {options} {group}=bad"
    return Mistake(typed, expected, {f"my_conf/{group}/bad.yaml": text})


GLOBAL = "# @package _global_\n"
IN_FILES = {
    "wrong key in a file": in_file(
        "model",
        LSTM.replace("num_layers", "num_layerz"),
        "my_conf/model/bad.yaml: model.num_layerz: Recurrent takes no 'num_layerz'; did you mean "
        "'num_layers'? It takes cell, d_model, num_layers, dropout, variational, tied, attention, "
        "shares_embeddings.",
    ),
    "wrong value in a file": in_file(
        "model",
        LSTM.replace("0.0", "1.5"),
        "my_conf/model/bad.yaml: model.dropout=1.5:",
        "less than 1",
    ),
    "wrong type in a file": in_file(
        "model",
        LSTM.replace("d_model: 8", "d_model: 8 wide"),
        "my_conf/model/bad.yaml: model.d_model=8 wide:",
        "integer",
    ),
    "key forgotten in a file": in_file(
        "model",
        LSTM.replace("tied: true\n", ""),
        "my_conf/model/bad.yaml: model.tied is missing: Recurrent needs it",
    ),
    "key twice in a file": in_file(
        "model", LSTM + "tied: false\n", "my_conf/model/bad.yaml:10:", "duplicate key", "tied"
    ),
    "no YAML": in_file(
        "model", "_target_: a\n  cell: [\n", "my_conf/model/bad.yaml:2:", "no valid YAML"
    ),
    "NUL in a file": in_file(
        "model", "_target_: a\0b\n", "my_conf/model/bad.yaml: no valid YAML", "offset 11"
    ),
    "key of an experiment": in_file(
        "experiment",
        GLOBAL + "optimizer:\n  bettas: [0.9, 0.99]\n",
        "my_conf/experiment/bad.yaml: optimizer.bettas:",
        "'betas'?",
    ),
    "new section of an experiment": in_file(
        "experiment",
        GLOBAL + "optimiser:\n  lr: 1.0\n",
        "my_conf/experiment/bad.yaml: optimiser:",
        "'optimizer'?",
    ),
    "unknown file in a list of defaults": in_file(
        "experiment",
        GLOBAL + "defaults:\n  - override /model: lsmt\n",
        "my_conf/experiment/bad.yaml: there is no model=lsmt",
        "'lstm'?",
    ),
    "key for another task in a file": in_file(
        "data",
        f"{GLOBAL}defaults: [wikitext2, _self_]\neval: {{metrics: [bleu]}}\n",
        "my_conf/data/bad.yaml: eval.metrics: EvalWindows takes no 'metrics'.",
        "'~eval.metrics' on the command line takes it out",
    ),
    "target in a file": in_file(
        "model",
        "_target_: my_nets.Encoder\nwidth: 3\n",
        "my_conf/model/bad.yaml: model._target_=my_nets.Encoder",
        "--allow-targets my_nets",
    ),
    "impossible combination": in_file(
        "model",
        "_target_: my_nets.Encoder\nwidth: 3\n",
        "lmexp: task=causal_lm needs a decoder; model=bad builds: encoder. "
        "Models that build one: gru, lstm, pretrained, rnn, transformer, transformer_base, ",
        options="--allow-targets my_nets",
    ),
    "a file that hides one of ours": Mistake(
        "--config-dir my_conf",
        ("my_conf/model/lstm.yaml has the name", "conf/model/lstm.yaml", "rename"),
        {"my_conf/model/lstm.yaml": LSTM},
    ),
}
KEYS = {
    "key of a model": ("model.num_layerz=3", "model.num_layerz=3: Transformer", "'num_layers'?"),
    "key of another model": ("model.cell=lstm", "model.cell=lstm: Transformer takes no 'cell'"),
    "key of data": ("data.max_lenght=3", "TextDataModule takes no", "'max_length'?"),
    "key of a corpus": ("data.filez=3 data=text data.files=a", "'filez'", "'files'?"),
    "key of a cleaning": ("data.cleaning.nfk=true", "Cleaning takes no 'nfk'", "'nfc'?"),
    "key of the evaluation": ("eval.strides=3", "EvalWindows takes no", "'stride'?"),
    "key of an optimizer": ("optimizer.weight_dekay=0", "AdamW takes no", "'weight_decay'?"),
    "key of a schedule": ("schedule.warmup=3", "WarmupCosine takes no", "'warmup_steps'?"),
    "key of a trainer": ("trainer.precison=32-true", "takes no 'precison'", "'precision'?"),
    "key of a logger": ("logger.projekt=a", "CSV takes no 'projekt'"),
    "key of a task": ("task.label_smooth=0", "CausalLM takes no", "'label_smoothing'?"),
    "top-level key": ("sed=3", "sed=3", "'seed'?", "It takes name"),
    "group": ("modle=lstm", "modle=lstm", "'model'?"),
    "key under a value": ("seed.first=3", 'seed={"first": 3}', "integer"),
    "argument that the code gives": ("schedule.total_steps=9", "lmexp itself gives 'total_steps'"),
    "parameters of the optimizer": ("optimizer.params=9", "lmexp itself gives 'params'"),
    "deleted key": ("~model.d_model", "model.d_model is missing"),
    "deletion of nothing": ("~model.d_mode", "model.d_mode", "does not exist"),
    "plus sign": ("+seed=3", "seed", "already"),
    "setting of Hydra": ("hydra.job.chdir=true", "hydra.job.chdir=true has no effect"),
    "launcher of Hydra": ("hydra/launcher=submitit", "hydra/launcher=submitit has no effect"),
}
VALUES = {
    "word for a number": ("model.d_model=wide", "model.d_model=wide", "integer"),
    "fraction for a number": ("model.num_layers=2.5", "model.num_layers=2.5", "integer"),
    "float for an integer": ("trainer.max_steps=1e3", "max_steps=1000.0", "write 1000"),
    "text for a number": ("optimizer.lr='1e-3'", "optimizer.lr=1e-3", "without quotes"),
    "number for a switch": ("model.tied=3", "model.tied=3", "boolean"),
    "switch for a number": ("model.d_ff=true", "model.d_ff=true", "integer"),
    "list for a number": ("seed=[1,2]", "seed=[1, 2]", "integer"),
    "number for a section": ("optimizer=3", "optimizer=3", "There are adamw"),
    "nothing": ("model.d_model=", 'model.d_model=""', "integer"),
    "null": ("model.d_model=null", "model.d_model=null", "integer"),
    "too short a pair": ("optimizer.betas=[0.9]", "optimizer.betas=[0.9]", "entries"),
    "below its range": ("model.num_layers=0", "model.num_layers=0", "greater than 0"),
    "above its range": ("model.dropout=1.0", "model.dropout=1.0", "less than 1"),
    "not a number": ("model.dropout=nan", "model.dropout=NaN", "not a number"),
    "negative seed": ("seed=-1", "seed=-1", "greater than or equal to 0"),
    "choice": ("model.norm=lyaer", "model.norm=lyaer", "'layer' or 'rms'", "'layer'?"),
    "precision": ("trainer.precision=bf16", "precision=bf16", "'bf16-mixed'", "did you mean"),
    "duration": ("trainer.max_time=10m", "max_time=10m", "'00:10:00'"),
    "name of a folder": ("name=a/b", "name=a/b", "no '/'"),
    "missing value": ("model.d_model=???", "model.d_model=???", "has to be given"),
    "missing in a file": ("data=text", "conf/data/text.yaml: data.files=??? has to be given"),
    "the environment": (
        "data.root=${oc.env:HOME}",
        "command line: data.root",
        "environment (HOME)",
    ),
    "URL with a password": (
        "init_from=https://me:pw@example.org/a",
        "command line: init_from has a user or a password in its URL",
    ),
    "a folder with a password": (
        "hydra.run.dir='s3://me:pw@bucket/a'",
        "hydra.run.dir has a user or a password in its URL",
    ),
    "named like a secret": ("data.token=abc", "command line: data.token is named like a secret"),
    "a secret in a sweep": ("-m data.token=abc,def", "lmexp: command line: data.token is named"),
    "interpolation": ("optimizer.lr=${optimizer.rate}", "optimizer.lr:", "optimizer.rate"),
    "unquoted text": (
        "data.root=~/x",
        """data.root=~/x: cannot be read: if it is one text, quote it: data.root="'~/x'\"""",
    ),
    "grammar": ("model.d_model=[1", "model.d_model=[1: cannot be read"),
    "sweep without -m": ("model=rnn,lstm", "model=rnn,lstm", "add -m"),
    "choice of a model": ("model=lsmt", "model=lsmt", "'lstm'?", "transformer"),
    "choice of data": ("data=wikitext", "data=wikitext", "'wikitext2'?"),
    "choice of nothing": ("model=null", "model=null", "There are bert"),
    "init_from": ("init_from=nowhere", "init_from=nowhere", "no such file or folder"),
}
TARGETS = {
    "unknown class": ("model._target_=lmexp.networks.recurrent.Recurent", "no 'Recurent'",
                      "'Recurrent'?"),
    "unknown module": ("model._target_=lmexp.networks.recurent.Recurrent", "no"),
    "unknown class of torch": ("optimizer._target_=torch.optim.Adamw", "'AdamW'?"),
    "no class": ("model._target_=transformer", "model._target_=transformer"),
    "alias": ("model._target_=logging.os.system", "logging.os.system", "outside the allowed"),
    "alias of ours": ("model._target_=lmexp.targets.sys.exit", "leads to sys.exit", "outside"),
    "torch.load": ("model._target_=torch.load", "torch.load", "outside the allowed packages"),
    "torch.hub": ("optimizer._target_=torch.hub.load", "outside the allowed packages"),
    "builtin": ("logger._target_=builtins.open", "outside the allowed packages"),
    "optimizer for a model": ("model._target_=torch.optim.AdamW", "AdamW is not an architecture"),
    "schedule for an optimizer": ("optimizer._target_=lmexp.schedules.Constant",
                                  "Constant is not a torch.optim.Optimizer"),
    "tokenizer for a corpus": ("data.corpus._target_=lmexp.tokenizers.Bytes", "not a corpus"),
    "function for a task": ("task._target_=lmexp.losses.projected_nll", "not a task"),
    "allowed alias": ("--allow-targets my_nets model._target_=my_nets.harmless.system",
                      "leads to logging.os.system", "outside"),
}  # fmt: skip
TOGETHER = {
    "both batch sizes": ("data.batch_tokens=512", "data.batch_size=null beside the other"),
    "no batch size": ("data.batch_size=null", "batch_tokens=null", "exactly one"),
    "batch below a sequence": ("data.batch_size=null data.batch_tokens=5", "try data.batch_tokens"),
    "too many parts": ("trainer.micro_batches=99", "micro_batches=99", "at most 8"),
    "endless budget": ("budget.tokens=inf", "budget.tokens=", "less than 1000"),
    "no end": ("trainer.max_steps=null", "max_epochs=null", "exactly one"),
    "two ends": ("trainer.max_epochs=2", "also write trainer.max_steps=null"),
    "lanes without state": ("data.lanes=8", "data.lanes=8", "write data.lanes=null"),
    "lanes unlike rows": ("model=gru data.lanes=3", "data.lanes=3", "write data.lanes=8"),
    "carrying without state": ("eval.carry=true", "eval.carry=true", "write eval.carry=false"),
    "stride over context": ("eval.context=8 eval.stride=9", "eval.stride=9", "at most 8"),
    "positions too few": ("model.positions=learned model.max_length=8", "write model.max_length="),
    "heads of no equal width": ("model.d_model=130", "d_model=130", "try d_model=128"),
    "groups of heads": ("model.num_kv_heads=3", "num_kv_heads=3", "1 or 2 or 4"),
    "rate of torch's optimizer": ("optimizer.lr=-1", "optimizer.lr=-1", "learning rate"),
    "no such run": ("resume=logs/runs/none", "logs/runs/none: no such file"),
    "no such config folder": ("--config-dir nowhere", "nowhere", "no such folder"),
}
SWEPT = {
    "key in a sweep": ("-m model=lstm,gru model.d_modle=8", "model=lstm", "'d_model'?", "2 of 2"),
    "one value of a sweep": ("-m optimizer.lr=1e-3,fast seed=1,2", "optimizer.lr=fast", "2 of 4"),
    "one choice of a sweep": ("-m model=rnn,lsmt", "model=lsmt", "'lstm'?", "1 of 2"),
    "one sum of a sweep": ("-m model.num_heads=4,3", "num_heads=3", "try d_model=255"),
    "resuming a sweep": ("-m resume=logs/runs seed=1,2", "leave -m out"),
}
TABLE = {
    **IN_FILES,
    **{
        name: Mistake(typed, tuple(expected))
        for table in (KEYS, VALUES, TARGETS, TOGETHER, SWEPT)
        for name, (typed, *expected) in table.items()
    },
}
