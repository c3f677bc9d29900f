"""Hugging Face's Trainer, for masked_lm.py and finetune.py: one training a process.

Prints the real tokens that it trained in a second, padding not counted, as one JSON line.

    python benchmarks/_trainer.py masked_lm '{"examples": …, "weights": …}'
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _programs import DEVICE, VOCAB, Clock
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lmexp.batch import IGNORE
from lmexp.networks.pretrained_library import quiet

Options = Mapping[str, Any]


def with_weights(network: nn.Module, weights: str | Path) -> nn.Module:
    """The network with the tensors of a file; what the file lacks stays as it is."""
    state, named = network.state_dict(), load_file(weights)
    if unknown := set(named) - set(state):
        raise SystemExit(f"{weights}: {type(network).__name__} has no {', '.join(sorted(unknown))}")
    network.load_state_dict(state | named)
    return network


def masked_network(config: Mapping[str, Any], weights: str | Path) -> nn.Module:
    """BertForMaskedLM of these sizes with our weights."""
    return with_weights(BertForMaskedLM(BertConfig(**config)), weights)


def tagging_network(model: str, labels: Sequence[str], weights: str | Path) -> nn.Module:
    """The pretrained encoder of a folder under a linear layer, which has our weights."""
    with quiet():
        network = AutoModelForTokenClassification.from_pretrained(
            model, num_labels=len(labels), local_files_only=True, dtype=torch.float32
        )
    return with_weights(network, weights)


def numbers_as_words(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer for collators, whose tokens are our ids, spelled."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    vocab = {str(number): number for number in range(vocab_size)}
    ids = {"pad": VOCAB.pad_id, "bos": VOCAB.bos_id, "eos": VOCAB.eos_id, "mask": VOCAB.mask_id}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocab, unk_token="1")),  # <unk>
        unk_token="1",
        **{f"{name}_token": str(number) for name, number in ids.items()},
    )


def tagged(
    tokenizer: Any,
    sentence: Mapping[str, Any],
    labels: Sequence[str],
    max_length: int,
    *,
    full: bool,
) -> dict[str, Any]:
    """A sentence as run_ner.py of its examples has it: a label at the first token of each word.

    Args:
        tokenizer: of the pretrained model.
        sentence: words and their tags.
        labels: tags by number.
        max_length: tokens, of which what is beyond is cut.
        full: pad to max_length.
    """
    read = tokenizer(
        sentence["words"],
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        padding="max_length" if full else False,
    )
    words = read.word_ids()
    own = [
        labels.index(sentence["tags"][word]) if word is not None and word != before else IGNORE
        for before, word in zip([None, *words], words, strict=False)
    ]
    return {**read, "labels": own}


class Counting:
    """A collator that counts the real tokens of each batch."""

    def __init__(self, collate: Any) -> None:
        self._collate, self.tokens = collate, list[int]()

    def __call__(self, examples: list[Any]) -> dict[str, Tensor]:
        """A batch."""
        batch: dict[str, Tensor] = self._collate(examples)
        self.tokens.append(int(batch["attention_mask"].sum()))
        return batch


class Ticks(TrainerCallback):
    """Tells the clock of each step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step is over."""
        self._clock.tick()


def trained(
    network: nn.Module, tokenizer: Any, collate: Any, examples: Any, options: Options
) -> float:
    """Train; real tokens a second after the warm-up."""
    warmup, steps = options["warmup"], options["steps"]
    clock, counting = Clock(warmup, steps), Counting(collate)
    arguments = TrainingArguments(
        output_dir=options["folder"],
        per_device_train_batch_size=options["rows"],
        max_steps=warmup + steps,
        learning_rate=options["lr"],
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=options["lr_warmup"],
        weight_decay=0.1,
        adam_beta2=0.95,
        bf16=options["precision"] == "bf16",
        train_sampling_strategy="group_by_length" if options["groups"] else "random",
        use_cpu=DEVICE == "cpu",
        logging_steps=10,
        save_strategy="no",
        remove_unused_columns=False,  # else what the collator reads is not there
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        network,
        arguments,
        data_collator=counting,
        train_dataset=examples,
        processing_class=tokenizer,
    )
    trainer.add_callback(Ticks(clock))
    trainer.train()
    if options.get("save"):
        save_file(
            {name: own.clone() for name, own in network.state_dict().items()}, options["save"]
        )
    return sum(counting.tokens[warmup : warmup + steps]) / clock.seconds


def masked_lm(options: Options) -> float:
    """Hidden tokens of sequences of ids, hidden by DataCollatorForLanguageModeling."""
    network = masked_network(options["config"], options["weights"])
    tokenizer = numbers_as_words(options["config"]["vocab_size"])
    sequences = json.loads(Path(options["examples"]).read_text())
    full = options["max_length"] if options["padded"] else 0
    examples = [
        {
            "input_ids": ids + [VOCAB.pad_id] * (full - len(ids)),
            "attention_mask": [1] * len(ids) + [0] * (full - len(ids)),
            "special_tokens_mask": [1, *[0] * (len(ids) - 2), 1, *[1] * (full - len(ids))],
        }
        for ids in sequences
    ]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=options["mask_rate"])
    return trained(network, tokenizer, collate, examples, options)


def token_labels(options: Options) -> float:
    """Tags of words, padded by DataCollatorForTokenClassification."""
    labels = options["labels"]
    network = tagging_network(options["model"], labels, options["weights"])
    tokenizer = AutoTokenizer.from_pretrained(options["model"], local_files_only=True)
    length, full = options["max_length"], options["padded"]
    examples = [
        tagged(tokenizer, sentence, labels, length, full=full)
        for sentence in json.loads(Path(options["examples"]).read_text())
    ]
    collate = DataCollatorForTokenClassification(tokenizer)
    return trained(network, tokenizer, collate, examples, options)


def main() -> None:
    """Run one program."""
    programs = {program.__name__: program for program in (masked_lm, token_labels)}
    torch.manual_seed(0)
    speed = programs[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps({"per_second": speed}))


if __name__ == "__main__":
    main()
