"""Command `slurm`: the batch file of a training on a SLURM cluster, which goes on when requeued."""

import argparse
import re
import shlex
from pathlib import Path

from lmexp.check import check
from lmexp.launch import RUNS, add_overrides
from lmexp.recipe import composition
from lmexp.run_folder import RECIPE
from lmexp.targets import as_flags

SECONDS_TO_SAVE = 120  # between SIGTERM and the end of the time limit

OURS = (  # options of sbatch that the file itself gives
    *("--nodes", "-N", "--ntasks-per-node", "--ntasks", "-n", "--gpus-per-node", "--time", "-t"),
    *("--cpus-per-task", "-c", "--requeue", "--no-requeue", "--signal"),
)

FILE = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={tasks}
{gpus}#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
#SBATCH --signal=TERM@{seconds}
{more}
# One task a device. SIGTERM comes {seconds} seconds before the time limit, or when the job is
# preempted: the run saves and ends with status 143. The job is then requeued under the same number
# and goes on in the same folder.
set -u
run={folder}/slurm-$SLURM_JOB_ID
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # which srun no longer takes from sbatch by itself
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
if [ -e "$run/{recipe}" ]; then
    srun --kill-on-bad-exit=1 {command} resume="$run"
else
    srun --kill-on-bad-exit=1 {command} {overrides} hydra.run.dir="$run"
fi
status=$?
if [ $status -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `slurm`."""
    add_overrides(parser)
    parser.add_argument("--nodes", type=_count, default=1)
    parser.add_argument("--time", type=_time, default="24:00:00", help="limit, default 24:00:00")
    parser.add_argument("--cpus-per-task", type=_count, default=8)
    parser.add_argument(
        "--sbatch",
        type=_option,
        action="append",
        default=[],
        metavar="OPTION",
        help="one more option of sbatch, such as --sbatch=--partition=long; repeatable",
    )
    parser.add_argument("--command", default="python train.py", help="what each task runs")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number above 0")
    return int(text)


def _option(text: str) -> str:
    name = text.split("=")[0].split(" ")[0]
    if not text.startswith("-") or "\n" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: write --sbatch=--partition=long")
    if name in OURS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the file says {name} itself, by --nodes, --time, --cpus-per-task and "
            "trainer.devices="
        )
    return text


def _time(text: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write 08:00:00 or 2-00:00:00")
    return text


def main(args: argparse.Namespace) -> int:
    """Check the overrides and print the file."""
    composed = composition(args.overrides, args.config_dir, args.allow_targets)
    recipe = composed.recipe
    if recipe.get("resume") is not None or "hydra.run.dir" in composed.folders:
        raise ValueError("the file itself says where the run is: leave resume= and hydra.run.dir=")
    check(recipe, composed.allow_targets, composed.origins)
    devices = recipe["trainer"]["devices"]
    if devices == "auto":
        raise ValueError(
            "trainer.devices=auto: this machine need not have what the cluster's nodes have: write "
            "trainer.devices=<GPUs of a node>"
        )
    print(_file(args, recipe["name"], int(devices), recipe["trainer"]["accelerator"]), end="")
    return 0


def _file(args: argparse.Namespace, name: str, devices: int, accelerator: str) -> str:
    flags = ["--config-dir", args.config_dir] if args.config_dir else []
    flags += as_flags(args.allow_targets)
    return FILE.format(
        name=shlex.quote(name),
        nodes=args.nodes,
        tasks=devices,
        gpus="" if accelerator == "cpu" else f"#SBATCH --gpus-per-node={devices}\n",
        cpus=args.cpus_per_task,
        time=args.time,
        seconds=SECONDS_TO_SAVE,
        more="".join(f"#SBATCH {option}\n" for option in args.sbatch),
        folder=Path(RUNS, shlex.quote(name)),
        recipe=RECIPE,
        command=shlex.join([*shlex.split(args.command), *flags]),
        overrides=shlex.join(args.overrides),
    )
