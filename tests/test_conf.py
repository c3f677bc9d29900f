"""Every file under conf/ composes and passes the check; later beats earlier; nothing is hidden."""

from pathlib import Path

import pytest

from lmexp import recipe
from lmexp.check import check
from lmexp.models import choices
from lmexp.recipe import composition, conf_dir
from lmexp.resume import HARMLESS

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
FILES = [(group, name) for group in GROUPS for name in choices(group, [conf_dir()])]
REQUIRED = {
    "text": ["data.files=a.txt"],
    "hub": ["data.path=owner/name"],
    "summaries": ["data.files=a.jsonl"],
    "code": ["data.files=a.jsonl"],
    "dialogues": ["data.files=a.jsonl"],
    "pretrained": ["model.path=x", "model.config={model_type: gpt2}"],
    "parallel": ["data.train=[a.en,a.de]"],
    "pairs": ["data=reverse"],
    "segments": ["task=masked_lm"],
    "tags": ["data=conll2003"],
    "labels": ["data=sst2"],
    "matches": ["data=banking77_answers"],
    "text_pairs": ["data=banking77_answers"],
    "token_labels": ["data=conll2003"],
    "text_labels": ["data=sst2"],
    "labelled_tokens": ["data.train=a.txt"],
    "labelled_text": ["data.train=a.tsv"],
    "questions": ["data=questions", "data.train=a.json"],
    "question_answering": ["data=xquad"],
    "sentences": ["task=vae_lm", "model=lstm"],
    "translation": ["data=reverse"],
}

MODEL = """\
# @package _global_
defaults:
  - override /optimizer: sgd
model:
  _target_: lmexp.networks.recurrent.Recurrent
  cell: gru
  d_model: 8
  num_layers: 1
  dropout: 0.0
  variational: false
  tied: true
  attention: dot
  shares_embeddings: true
optimizer:
  lr: 0.25
"""
DATA = """\
# @package _global_
defaults:
  - python_docs
  - override /task: other
  - _self_
data:
  max_length: 48
"""
TASK = """\
_target_: lmexp.tasks.causal_lm.CausalLM
label_smoothing: 0.125
clip_norm: null
ema_decay: null
sample_prompt: ""
sample_tokens: 0
"""
EXPERIMENT = """\
# @package _global_
defaults:
  - override /model: own
  - override /data: own
  - override /optimizer: adamw
seed: 7
task:
  label_smoothing: 0.5
optimizer:
  lr: 0.5
"""


@pytest.fixture
def my_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of a user's own configuration, in the current folder."""
    monkeypatch.chdir(tmp_path)
    files = {"model/own": MODEL, "data/own": DATA, "task/other": TASK, "experiment/own": EXPERIMENT}
    for name, text in files.items():
        file = tmp_path / "my_conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return "my_conf"


@pytest.mark.parametrize(("group", "name"), FILES, ids="/".join)
def test_every_file_composes_and_passes_the_check(group, name):
    composed = composition([f"{group}={name}", *REQUIRED.get(name, [])])

    check(composed.recipe, composed.allow_targets, composed.origins)


def test_every_file_is_in_a_group():
    in_groups = {conf_dir() / group / f"{name}.yaml" for group, name in FILES}

    assert set(conf_dir().rglob("*.yaml")) == in_groups | {conf_dir() / "train.yaml"}


def test_every_file_says_first_where_its_numbers_come_from():
    for file in conf_dir().rglob("*.yaml"):
        lines = file.read_text(encoding="utf-8").splitlines()
        first = lines[1] if lines[0] == "# @package _global_" else lines[0]
        assert first.startswith("# "), f"{file} begins with {first}"


def test_a_model_overrides_the_optimizer_and_its_rate(my_conf):
    found = recipe.compose(["model=own"], my_conf)

    assert found["optimizer"]["_target_"] == "torch.optim.SGD"
    assert found["optimizer"]["lr"] == 0.25


def test_a_data_set_overrides_the_task(my_conf):
    found = recipe.compose(["data=own"], my_conf)

    assert found["task"]["label_smoothing"] == 0.125
    assert found["data"]["max_length"] == 48


@pytest.mark.parametrize(("model", "rows"), [("transformer", (256, 16)), ("bert", (128, 32))])
def test_a_text_is_read_in_rows_that_suit_the_task(model, rows):
    data = composition([f"model={model}", "data=wikitext2"]).recipe["data"]

    assert (data["max_length"], data["batch_size"]) == rows


def test_an_experiment_beats_model_and_data_and_sets_the_seed(my_conf):
    found = recipe.compose(["experiment=own"], my_conf)

    assert found["seed"] == 7
    assert found["model"]["cell"] == "gru"  # its own choice of a model
    assert found["task"]["clip_norm"] is None  # the task that its data set chose
    assert found["task"]["label_smoothing"] == 0.5  # and its own value there
    assert found["optimizer"]["_target_"] == "torch.optim.AdamW"  # over the model's choice
    assert found["optimizer"]["lr"] == 0.5


def test_the_command_line_beats_an_experiment(my_conf):
    typed = ["experiment=own", "optimizer=muon", "optimizer.lr=0.75", "seed=8", "data=ptb"]

    found = recipe.compose(typed, my_conf)

    assert found["seed"] == 8
    assert found["optimizer"]["_target_"] == "lmexp.optimizers.Muon"
    assert found["optimizer"]["lr"] == 0.75
    assert found["data"]["max_length"] != 48


def test_a_file_of_the_users_may_not_hide_one_of_ours(my_conf, tmp_path):
    (tmp_path / "my_conf" / "model" / "lstm.yaml").write_text(MODEL)

    with pytest.raises(ValueError, match=r"my_conf/model/lstm.yaml has the name of a file"):
        recipe.compose([], my_conf)


def test_a_file_that_is_not_utf8_is_named_with_the_byte(my_conf, tmp_path):
    (tmp_path / "my_conf" / "model" / "own.yaml").write_bytes(b"# caf\xe9\n")

    message = (
        r"my_conf/model/own.yaml is not UTF-8: byte 0xE9 at offset 5: save or type it as UTF-8"
    )
    with pytest.raises(ValueError, match=message):
        recipe.compose(["model=own"], my_conf)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", ".a", "a/b", "..", "a\n"])
def test_a_name_that_is_no_folder_is_refused(name):
    composed = recipe.compose([])

    with pytest.raises(ValueError, match="it names a folder under logs/runs"):
        check({**composed, "name": name})


@pytest.mark.parametrize("key", ["name", "sweep.name"])
def test_a_name_that_no_file_system_takes_is_refused(key):
    composed = recipe.composition([f"{key}='{'文' * 86}'"], None, ())

    with pytest.raises(
        ValueError, match=rf"{key} has 258 bytes, and a folder's name at most 255: shorten it"
    ):
        check(composed.recipe, (), composed.origins)


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [("a/b", ": write sweep.name=a-b"), ("..", " alone"), ("", " alone"), ("a b", "=a-b")],
)
def test_a_name_of_a_sweep_is_one_that_it_is_found_by(typed, remedy):
    composed = recipe.composition([f"sweep.name='{typed}'"], None, ())

    with pytest.raises(ValueError, match=f"names a folder under logs/sweeps, .*{remedy}$"):
        check(composed.recipe, (), composed.origins)


def test_a_name_may_hold_backslashes_and_letters():
    check({**recipe.compose([]), "name": r"a\name\0"})


@pytest.mark.parametrize("trainer", choices("trainer", [conf_dir()]))
def test_another_trainer_changes_nothing_of_what_is_learnt(trainer):
    before, after = recipe.compose([]), recipe.compose([f"trainer={trainer}"])

    changed = {key for key in before["trainer"] if before["trainer"][key] != after["trainer"][key]}
    assert {key: before[key] for key in before if key != "trainer"} == {
        key: after[key] for key in after if key != "trainer"
    }
    assert {f"trainer.{key}" for key in changed} <= set(HARMLESS) - {"trainer.max_steps"}


def test_the_name_is_model_and_data_unless_given():
    assert recipe.compose(["model=gru", "data=ptb"])["name"] == "gru-ptb"
    assert recipe.compose(["name=mine"])["name"] == "mine"


@pytest.mark.parametrize(
    ("model", "lanes"), [("transformer", None), ("rnn", 6), ("lstm", 6), ("gru", 6)]
)
def test_lanes_are_as_many_as_rows_where_state_is_carried(model, lanes):
    by_size = recipe.compose([f"model={model}", "data.batch_size=6"])
    by_tokens = recipe.compose(
        [f"model={model}", "data.batch_size=null", "data.batch_tokens=600", "data.max_length=100"]
    )

    assert by_size["data"]["lanes"] == lanes
    assert by_tokens["data"]["lanes"] == lanes


def test_the_environment_is_not_read_into_a_recipe(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2-of-mine")
    typed = ["task.sample_prompt=${oc.env:SECRET}", "name=${task.sample_prompt}"]

    with pytest.raises(ValueError, match=r"name is read from the environment \(SECRET\)") as raised:
        recipe.compose(typed)

    assert "hunter2" not in str(raised.value)


def test_a_recipe_holds_plain_values_only():
    def leaves(value):
        if isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from leaves(part)
        else:
            yield value

    kinds = {type(value) for value in leaves(recipe.compose([]))}

    assert kinds <= {str, int, float, bool, type(None)}


def test_data_files_is_short_for_data_corpus_files():
    found = recipe.compose(["data=text", "data.files=[a.txt,b.txt]", "data.val_fraction=0.25"])

    assert found["data"]["corpus"]["files"] == ["a.txt", "b.txt"]
    assert found["data"]["corpus"]["val_fraction"] == 0.25
    assert "val_fraction" not in found["data"]


def test_allow_targets_of_a_configuration_is_no_part_of_the_recipe():
    composed = composition(["allow_targets=[mine]"], allow_targets=["yours"])

    assert composed.allow_targets == ("yours", "mine")
    assert "allow_targets" not in composed.recipe
