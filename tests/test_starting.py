"""A run that begins with another run's weights, tokenizer and sizes (init_from)."""

import shutil
from pathlib import Path

import pytest
import torch

from lmexp import checkpoint as checkpoints
from lmexp.hardware import choose
from lmexp.loading import load
from lmexp.parts import assemble
from lmexp.ranks import Ranks
from lmexp.recipe import compose, main
from lmexp.starting import Start, put_in
from lmexp.targets import build

SIZES = ("model.d_model=16", "model.num_layers=2", "model.num_heads=2", "model.d_ff=32")
WORDS = ["the", "import", "statement", "binds", "a", "name", "in", "scope", "of", "module"]


def data(folder: Path) -> list[str]:
    return [
        *("data=text", f"data.files={folder / 'text.txt'}", "data.corpus.document=line"),
        *("data.max_length=32", "data.batch_size=8", "trainer=debug", "trainer.max_steps=4"),
        *("trainer.validate_every_steps=2", "logger=none"),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two trained runs: masked, whose average is kept, and causal."""
    folder = tmp_path_factory.mktemp("starting")
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(WORDS), (200, 8), generator=generator).tolist()
    lines = [" ".join(WORDS[word] for word in line) for line in drawn]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    masked = ["model=bert", *SIZES, "tokenizer=word", "task.ema_decay=0.9", "data.pairs=null"]
    assert main([*masked, *data(folder), f"hydra.run.dir={folder / 'masked'}"]) == 0
    causal = [*SIZES, "model.num_kv_heads=2", "tokenizer=byte", "task.sample_tokens=0"]
    assert main([*causal, *data(folder), f"hydra.run.dir={folder / 'causal'}"]) == 0
    return folder


def begun(folder: Path, *overrides: str) -> list[str]:
    return [*overrides, *data(folder)]


def assembled(recipe, folder: Path):
    """What a run of the recipe is made of, before its first step."""
    folder.mkdir()
    settings = build(recipe["trainer"])
    recipe["trainer"]["micro_batches"] = 1
    return assemble(recipe, folder, (), settings, choose("cpu", 1, "32-true"), Ranks())


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_before_its_first_step_it_has_the_validation_loss_of_the_old_run(kind, folder, tmp_path):
    task = ["task=masked_lm", "data.pairs=null"] if kind == "masked" else ["task.sample_tokens=0"]
    recipe = compose(begun(folder, f"init_from={folder / kind}", *task))

    parts = assembled(recipe, tmp_path / "run")

    old = load(folder / kind)
    parts.task.eval()
    loader = parts.data.val_dataloader()
    assert parts.task.evaluate(loader) == old.task.evaluate(loader)
    assert parts.data.tokenizer.hash() == old.tokenizer.hash()


def test_all_weights_are_those_of_the_average_and_so_is_the_new_average(folder, tmp_path):
    asked = ("task=masked_lm", "task.ema_decay=0.5", "data.pairs=null")
    recipe = compose(begun(folder, f"init_from={folder / 'masked'}", *asked))

    task = assembled(recipe, tmp_path / "run").task

    saved = checkpoints.read(folder / "masked" / "checkpoints" / "best.ckpt")["training"]
    for name, parameter in task.network.named_parameters():
        torch.testing.assert_close(parameter, saved["average"][name], rtol=0, atol=0)
        torch.testing.assert_close(task.average.average[name], parameter, rtol=0, atol=0)


def test_it_says_what_was_loaded_what_is_new_and_what_was_left(folder, tmp_path, capsys):
    recipe = compose(begun(folder, f"init_from={folder / 'masked'}", "task=masked_lm"))
    recipe["data"]["pairs"] = "next_sentence"

    assembled(recipe, tmp_path / "run")

    said = capsys.readouterr().err
    assert "(best.ckpt, the average of weights after step" in said
    assert "35 of the network's 39 tensors loaded: encoder (29), transform (2)" in said
    assert "new: pooler (2), pair (2); left: nothing" in said


def test_a_folder_of_runs_and_a_checkpoint_name_a_run_too(folder):
    asked = begun(folder, "task.sample_tokens=0")
    file = folder / "causal" / "checkpoints" / "last.ckpt"

    newest = compose([*asked, f"init_from={folder}"])
    one = compose([*asked, f"init_from={file}"])

    assert newest["init_from"] == str(folder / "causal")  # before the new run is the newest
    assert one["init_from"] == str(file)
    assert one["model"] == newest["model"]


def test_a_checkpoint_that_lies_in_no_run_has_its_recipe_in_it(folder, tmp_path):
    file = shutil.copy(folder / "causal" / "checkpoints" / "last.ckpt", tmp_path / "x.ckpt")

    recipe = compose(begun(folder, f"init_from={file}", "task.sample_tokens=0"))

    assert recipe["model"]["d_model"] == 16
    assert assembled(recipe, tmp_path / "run").data.tokenizer.vocab_size == 263


def test_sizes_and_tokenizer_win_over_what_files_prefer(folder):
    asked = [f"init_from={folder / 'causal'}", f"data.files={folder / 'text.txt'}"]

    recipe = compose(["data=shakespeare", "data.max_length=32", *asked])  # which prefers char

    assert recipe["tokenizer"]["_target_"] == "lmexp.tokenizers.Bytes"
    assert recipe["model"]["d_model"] == 16
    assert recipe["name"] == "transformer-shakespeare"


def test_dropout_has_no_weights_and_may_be_chosen_anew(folder):
    own = [f"init_from={folder / 'masked'}", "task=masked_lm"]

    assert compose(begun(folder, *own))["model"]["dropout"] == 0.1  # bert's
    assert compose(begun(folder, *own, "model.dropout=0.3"))["model"]["dropout"] == 0.3


def test_what_is_named_and_equal_is_fine(folder):
    named = ["model=transformer", *SIZES, "model.num_kv_heads=2", "tokenizer=byte"]

    recipe = compose(begun(folder, f"init_from={folder / 'causal'}", *named))

    assert recipe["model"]["max_length"] == 32


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=lstm"], "model=lstm asks for model._target_=lmexp.networks.recurrent.Recurrent,"),
        (["model=transformer"], "asks for model.d_model=256, and the weights of init_from="),
        (["model.d_model=32"], "model.d_model=32, and the weights of init_from="),
        (["tokenizer=bpe"], "tokenizer=bpe asks for tokenizer._target_="),
        (["task=masked_lm"], "it trained a decoder (CausalLM), and task=masked_lm needs an encod"),
        (["init_from="], "init_from= is empty: name a run"),
        (["init_from=nowhere"], "init_from=nowhere: no such file or folder"),
        (["init_from=TEXT"], "lies in no run: there is no recipe.yaml"),
    ],
)
def test_refusals(overrides, told, folder, capsys):
    named = [line.replace("TEXT", str(folder / "text.txt")) for line in overrides]
    start = [] if overrides[0].startswith("init_from") else [f"init_from={folder / 'causal'}"]

    assert main(begun(folder, *start, *named)) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_learned_positions_do_not_grow(folder, capsys):
    asked = [f"init_from={folder / 'masked'}", "task=masked_lm", *data(folder)]

    assert main([*asked, "data.max_length=64"]) == 2

    told = "model.max_length=32 learned positions do not reach that far: write data.max_length=32: "
    assert told + "they come with the weights of init_from" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_refused(folder, tmp_path, capsys):
    shutil.copytree(folder / "causal", tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "checkpoints")

    assert main(begun(folder, f"init_from={tmp_path / 'old'}")) == 2

    assert "holds no checkpoint yet" in capsys.readouterr().err


def test_a_network_that_has_nothing_in_common_is_refused(folder):
    task = load(folder / "causal").task

    with pytest.raises(ValueError, match=r"it has other \(1\); the network has layers \(12\), "):
        put_in(task, Start("init_from=x", None, lambda _: {"other.weight": torch.zeros(2)}))


def test_it_is_resumed_when_the_old_run_is_gone(folder, tmp_path, capsys):
    shutil.copytree(folder / "causal", tmp_path / "old")
    asked = begun(folder, f"init_from={tmp_path / 'old'}", "task.sample_tokens=0")
    assert main([*asked, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    short = [*asked, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'cut'}"]
    assert main([*short, "schedule=constant"]) == 0
    shutil.rmtree(tmp_path / "old")
    capsys.readouterr()

    assert main([f"resume={tmp_path / 'cut'}", "trainer.max_steps=4"]) == 0

    assert "init_from" not in capsys.readouterr().err
    assert load(tmp_path / "cut").recipe["init_from"] == str(tmp_path / "old")
    assert load(tmp_path / "cut" / "checkpoints" / "last.ckpt").step == 4


@pytest.mark.slow
def test_two_ranks_begin_with_the_same_weights(folder, tmp_path):
    asked = begun(folder, f"init_from={folder / 'causal'}", "task.sample_tokens=0")
    still = [*asked, "optimizer.lr=1.0e-12", "trainer.max_steps=2"]

    assert main([*still, "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}"]) == 0

    old, new = load(folder / "causal").network, load(tmp_path / "two").network
    for name, parameter in new.named_parameters():
        torch.testing.assert_close(parameter, old.get_parameter(name), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_ranks_that_share_the_network_begin_with_the_same_weights(folder, tmp_path):
    asked = begun(folder, f"init_from={folder / 'causal'}", "task.sample_tokens=0")
    still = [*asked, "optimizer.lr=1.0e-12", "trainer.max_steps=2", "trainer.strategy=fsdp"]

    assert main([*still, "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}"]) == 0

    old, new = load(folder / "causal").network, load(tmp_path / "two").network
    for name, parameter in new.named_parameters():
        torch.testing.assert_close(parameter, old.get_parameter(name), rtol=0, atol=1e-9)


def test_translation_begins_with_the_tokenizers_of_a_translation(tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n} a b\tb a {n}\n" for n in range(200)))
    asked = [
        *("data=parallel", f"data.train={pairs}", "data.fields=[0,1]", "data.max_length=16"),
        *("data.batch_tokens=256", "trainer=debug", "trainer.max_steps=2", "logger=none"),
        *("trainer.validate_every_steps=1", "eval.sample_pairs=0"),
    ]
    sizes = [*SIZES, "model.num_kv_heads=2", "tokenizer=byte"]
    assert main([*sizes, *asked, f"hydra.run.dir={tmp_path / 'old'}"]) == 0

    asked += [f"init_from={tmp_path / 'old'}"]
    assert main([*asked, f"hydra.run.dir={tmp_path / 'new'}"]) == 0
    assert "new: nothing; left: nothing" in capsys.readouterr().err
    assert main([*asked, "data.joint=false"]) == 2
    told = "the weights come with one tokenizer for both sides: write data.joint=true"
    assert told in capsys.readouterr().err


def test_tags_of_languages_are_those_of_the_tokenizer_that_comes(tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n} a b\tb a {n}\n" for n in range(200)))
    asked = [
        *("data=parallel", f"data.train={pairs}", "data.fields=[0,1]", "data.max_length=16"),
        *("data.batch_tokens=256", "trainer=debug", "trainer.max_steps=1", "logger=none"),
        *("trainer.validate_every_steps=1", "eval.sample_pairs=0", "eval.metrics=[bleu]"),
    ]
    sizes = [*SIZES, "model.num_kv_heads=2", "tokenizer=byte"]
    tagged = [*sizes, *asked, "data.pair=en-de", "data.language_tags=[de,fr]"]
    assert main([*tagged, f"hydra.run.dir={tmp_path / 'old'}"]) == 0

    french = [*asked, f"init_from={tmp_path / 'old'}", "data.pair=en-fr"]
    new = [*french, "data.language_tags=[de,fr]", f"hydra.run.dir={tmp_path / 'new'}"]
    assert main(new) == 0
    assert load(tmp_path / "new").tokenizer.to == "fr"
    assert main(french) == 2
    assert "has tags of [de,fr]: write data.language_tags=[de,fr]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_begins_each_run_from_it(folder, tmp_path):
    asked = begun(folder, f"init_from={folder / 'causal'}", "task.sample_tokens=0")

    assert main(["-m", *asked, "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0

    runs = sorted((tmp_path / "sweep").glob("*/recipe.yaml"))
    assert [load(run.parent).recipe["init_from"] for run in runs] == [str(folder / "causal")] * 2
