"""eole, the successor of OpenNMT-py, for benchmarks/translation.py."""

import tempfile
import warnings
from typing import Any

from _peer import (
    BETAS,
    CLIP,
    D_FF,
    D_MODEL,
    DROPOUT,
    HEADS,
    LAYERS,
    SMOOTHING,
    UNENDING,
    Options,
    Questions,
    Steps,
    run,
)

warnings.simplefilter("ignore")  # of kernels for GPUs that are not there

from eole import train_single, trainer  # noqa: E402
from eole.config.run import TrainConfig  # noqa: E402


def config(options: Options, folder: str) -> Any:
    """What `eole train` reads from a file: pre-norm, as its transformers are."""
    text = options["text"]
    vocabulary = f"{text}/words"
    return TrainConfig(
        src_vocab=vocabulary,
        tgt_vocab=vocabulary,
        share_vocab=True,
        data={
            "train": {
                "path_src": f"{text}/train.source",
                "path_tgt": f"{text}/train.target",
                "transforms": [],
            }
        },
        report_every=10,
        seed=0,
        model={
            "architecture": "transformer",
            "layers": LAYERS,
            "hidden_size": D_MODEL,
            "heads": HEADS,
            "transformer_ff": D_FF,
            "add_qkvbias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "generator_bias": False,
            "embeddings": {"word_vec_size": D_MODEL},
        },
        training={
            "batch_type": "tokens",
            "batch_size": options["batch_tokens"],
            "batch_size_multiple": 1,
            "bucket_size": options["bucket_pairs"],
            "num_workers": 0,  # two more processes would take turns with it on two cores
            "optim": "adamw",
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "learning_rate": 1.0e-3,
            "label_smoothing": SMOOTHING,
            "dropout": [DROPOUT],
            "attention_dropout": [DROPOUT],
            "max_grad_norm": CLIP,
            "normalization": "tokens",
            "param_init_method": "xavier_uniform",
            "log_attention_entropy": False,  # half of its time otherwise
            "compute_dtype": "fp32",
            "train_steps": UNENDING,
            "valid_steps": UNENDING,
            "save_checkpoint_steps": UNENDING,
            "model_path": folder,
        },
    )


def train(options: Options, questions: Questions) -> None:
    """Tokens a second."""
    took = trainer.Trainer._process_accumulated_batches
    steps = Steps(questions, options["warmup"], options["steps"])

    def step(self: Any, batches: Any, normalization: Any, total: Any, report: Any) -> None:
        """The next step: its batch has been read, and what was before is done."""
        if total.n_tokens:
            steps.done(total.n_tokens)
        took(self, batches, normalization, total, report)

    trainer.Trainer._process_accumulated_batches = step
    with tempfile.TemporaryDirectory() as folder:
        train_single.main(config(options, folder), device_id=-1)


if __name__ == "__main__":
    run(train)
