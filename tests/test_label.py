"""Models that label through the commands: train, resume, label, evaluate, plan, show."""

import io
import json
import re
from collections import Counter
from types import SimpleNamespace

import labelled_runs
import pytest
import seqeval.metrics
import torch

from lmexp.__main__ import main
from lmexp.build import build_data
from lmexp.loading import load

LINES = ("Ann went to New York .", "", "the <script>alert(1)</script> & Bob", "Kim Kim", "x" * 500)
LONG = "the Ann " * 40 + "New York"  # many windows of ten words


@pytest.fixture(scope="module", params=["", "task.crf=true"])
def tagger(request, tmp_path_factory):
    """A finished run of a tagger, without a CRF and with one."""
    folder = tmp_path_factory.mktemp("tagger")
    labelled_runs.write_tagged(folder)
    options = [request.param] if request.param else []
    checked = ["trainer.validate_every_steps=20", "trainer.keep_last=2"]
    typed = labelled_runs.tagger(folder, *options, *checked, "trainer.checkpoint_every_steps=20")
    assert main(["train", *typed, f"hydra.run.dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture(scope="module", params=["one text", "pairs", "several labels"])
def classifier(request, tmp_path_factory):
    """A finished run of a classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    labelled_runs.write_labelled(folder, pairs=request.param == "pairs")
    options = {
        "one text": [],
        "pairs": ["data.second=second"],
        "several labels": ["data.multiple=true"],
    }[request.param]
    typed = labelled_runs.classifier(folder, *options)
    assert main(["train", *typed, f"hydra.run.dir={folder / 'run'}"]) == 0
    return folder / "run"


def feed(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))


@pytest.fixture
def label(monkeypatch, capfdbinary):
    """Runs the command on lines; gives the records."""

    def command(run, lines, *options):
        capfdbinary.readouterr()
        feed(monkeypatch, "".join(f"{line}\n" for line in lines).encode())
        assert main(["label", str(run), *options]) == 0
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    return command


def reads_pairs(run) -> bool:
    return "second" in (run.parent / "train.jsonl").read_text()


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_a_tagger_learns_names(tagger):
    assert summary(tagger)["test/entity_f1"] > 0.95
    assert "[LOC]" in summary(tagger)["sample"]


def test_every_line_is_labelled_word_by_word(tagger, label):
    records = label(tagger, LINES)

    assert len(records) == len(LINES)
    for record in records:
        assert len(record["words"]) == len(record["tags"]) == len(record["confidences"])
        assert all(0 <= share <= 1 for share in record["confidences"])
    assert records[0]["tags"] == ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]
    assert [entity["text"] for entity in records[0]["entities"]] == ["Ann", "New York"]
    assert records[0]["entities"][1]["confidence"] == min(records[0]["confidences"][3:5])
    assert records[1] == {"words": [], "tags": [], "confidences": [], "entities": []}


def test_a_line_longer_than_a_window_is_labelled_whole(tagger, label):
    (record,) = label(tagger, [LONG])

    assert record["words"] == LONG.split()
    assert record["tags"][-2:] == ["B-LOC", "I-LOC"]
    assert len(record["tags"]) == 82


def test_confidences_are_the_networks_own(tagger, label):
    loaded = load(tagger)
    (record,) = label(tagger, [LINES[0]])
    ids = torch.tensor([[2, *loaded.tokenizer.text.encode_many([LINES[0]])[0].tolist(), 3]])
    data = build_data(loaded.recipe, loaded.tokenizer, [])
    (batch,) = data.batches_of([LINES[0].split()])
    scores = loaded.network(batch)
    crf = loaded.network.crf
    shares = scores.softmax(-1)
    if crf is not None:
        shares = crf.marginals(scores, batch.firsts > 0, batch.begins)

    tags = [loaded.tokenizer.labels.index(tag) for tag in record["tags"]]
    expected = [shares[0, word, tag].item() for word, tag in enumerate(tags)]
    assert record["confidences"] == pytest.approx(expected, abs=1e-4)
    assert batch.input_ids.equal(ids)


def test_words_stand_between_spaces_if_that_is_asked_for(tagger, label):
    assert label(tagger, ["Ann, Bob"])[0]["words"] == ["Ann", ",", "Bob"]
    assert label(tagger, ["Ann, Bob"], "--tokenised")[0]["words"] == ["Ann,", "Bob"]


def test_bytes_that_are_no_utf8_are_counted(tagger, monkeypatch, capfdbinary):
    feed(monkeypatch, b"\xff Kim\nAnn\r\n")

    assert main(["label", str(tagger)]) == 0

    out, err = capfdbinary.readouterr()
    assert json.loads(out.splitlines()[0])["words"] == ["\ufffd", "Kim"]
    assert json.loads(out.splitlines()[1])["words"] == ["Ann"]
    assert b"1 lines are not UTF-8 throughout" in err


def test_a_page_shows_entities_and_escapes_texts(tagger, label, tmp_path):
    label(tagger, LINES, "--html", str(tmp_path / "page.html"))

    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;" in page
    assert "&amp;" in page
    assert re.search(r'<mark style="background:#\w+" title="[01]\.\d\d">New York <small>LOC', page)


def test_evaluate_gives_the_figures_of_the_test_whatever_the_batch(tagger, tmp_path, capsys):
    found = []
    for size in ("1", "64"):
        written = tmp_path / f"{size}.json"
        options = ["--batch-size", size, "--json", str(written)]
        assert main(["evaluate", str(tagger), *options]) == 0
        found.append(json.loads(written.read_text()))
    assert "LOC" in capsys.readouterr().out

    figures = [{k: v for k, v in own.items() if k.startswith("test/")} for own in found]
    assert figures[0] == pytest.approx(figures[1])
    expected = {k: v for k, v in summary(tagger).items() if k.startswith("test/")}
    assert expected == pytest.approx({name: figures[1][name] for name in expected})


def test_entity_figures_are_seqevals_on_what_label_puts_out(tagger, label, tmp_path):
    text = (tagger.parent / "test.txt").read_text()
    pairs = [[line.split(" ") for line in own.splitlines()] for own in text.split("\n\n") if own]
    sentences = [" ".join(word for word, _ in own) for own in pairs]
    gold = [[tag for _, tag in own] for own in pairs]
    given = [record["tags"] for record in label(tagger, sentences, "--tokenised")]
    assert main(["evaluate", str(tagger), "--json", str(tmp_path / "e.json")]) == 0

    figures = json.loads((tmp_path / "e.json").read_text())

    assert figures["test/entity_f1"] == pytest.approx(seqeval.metrics.f1_score(gold, given))
    assert figures["test/token_accuracy"] == pytest.approx(
        seqeval.metrics.accuracy_score(gold, given)
    )


def test_the_best_checkpoint_is_the_one_with_the_most_entities(tagger):
    records = map(json.loads, (tagger / "metrics.jsonl").read_text().splitlines())
    scores = {line["step"]: line["val/entity_f1"] for line in records if "val/entity_f1" in line}

    assert len(scores) == 3
    assert scores[summary(tagger)["best/step"]] == max(scores.values())


def test_an_average_of_checkpoints_is_a_tagger(tagger, tmp_path, label):
    assert main(["average", str(tagger), "--last", "2", "--out", str(tmp_path / "a.ckpt")]) == 0

    (record,) = label(tmp_path / "a.ckpt", [LINES[0]])
    assert record["tags"][0] == "B-PER"


def test_an_interrupted_tagger_goes_on_bit_for_bit(tagger, tmp_path):
    crf = load(tagger).network.crf is not None
    more = ["trainer.validate_every_steps=20", f"task.crf={str(crf).lower()}"]
    typed = labelled_runs.tagger(tagger.parent, *more, "trainer.checkpoint_every_steps=20")

    labelled_runs.assert_goes_on_bit_for_bit(tagger, typed, tmp_path / "cut")


def test_an_interrupted_classifier_goes_on_bit_for_bit(classifier, tmp_path):
    several = load(classifier).task.multiple
    more = ["data.second=second"] if reads_pairs(classifier) else []
    more.append(f"data.multiple={str(several).lower()}")

    typed = labelled_runs.classifier(classifier.parent, *more)
    labelled_runs.assert_goes_on_bit_for_bit(classifier, typed, tmp_path / "cut")


def test_a_classifier_learns(classifier):
    assert summary(classifier)["test/accuracy"] > 0.9


def test_every_text_is_labelled(classifier, label):
    is_pair = reads_pairs(classifier)
    lines = ["the a fine\tthe", "poor\tthe"] if is_pair else ["the a fine", "went poor"]

    first, blank, *others = label(classifier, [lines[0], " ", lines[1], ""])

    records = [first, others[0]]
    assert len(others) == 2
    for nothing, line in ((blank, " "), (others[1], "")):
        assert nothing["text"] == line
        assert not nothing.get("label")
        assert not nothing.get("labels")
        assert nothing["probabilities"] == {}
    for record, line in zip(records, lines, strict=True):
        assert record["text"] == line
        assert set(record["probabilities"]) == {"bad", "good"}
        assert all(0 <= share <= 1 for share in record["probabilities"].values())
        if "label" in record:
            assert record["confidence"] == max(record["probabilities"].values())
            assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    said = [record.get("label") or record["labels"][0] for record in records]
    assert said == ["good", "bad"]


def test_a_tab_is_one_more_character_to_a_model_of_single_texts(classifier, label):
    if not reads_pairs(classifier):
        loaded = load(classifier)
        data = build_data(loaded.recipe, loaded.tokenizer, [])
        ((batch, _),) = data.batches_of([("went\tfine",)], Counter())
        expected = loaded.task.probabilities(loaded.network(batch))[0].tolist()

        (record,) = label(classifier, ["went\tfine"])

        assert list(record["probabilities"].values()) == pytest.approx(expected, abs=1e-4)
        assert not batch.segment_ids.any()


def test_a_model_of_pairs_wants_a_tab(classifier, capsys):
    if reads_pairs(classifier):
        assert main(["label", str(classifier), "--text", "no tab"]) == 2
        assert "'no tab' has no tab: this model reads pairs of texts" in capsys.readouterr().err


def test_a_confusion_matrix_is_drawn_where_each_text_has_one_label(classifier, tmp_path, capsys):
    picture = tmp_path / "c.png"
    several = load(classifier).task.multiple

    status = main(["evaluate", str(classifier), "--confusion", str(picture)])

    assert status == (2 if several else 0)
    if several:
        assert "has no confusion matrix: leave it out" in capsys.readouterr().err
    else:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_tagger_has_no_confusion_matrix(tagger, tmp_path, capsys):
    assert main(["evaluate", str(tagger), "--confusion", str(tmp_path / "c.png")]) == 2
    assert "tags words, which has no --confusion: leave it out" in capsys.readouterr().err


def test_options_of_taggers_are_refused_for_classifiers(classifier, tmp_path, capsys):
    for option in (["--tokenised"], ["--html", str(tmp_path / "a.html")]):
        assert main(["label", str(classifier), "--text", "a", *option]) == 2
        assert "are of models that tag words" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["generate", "--prompt", "a"], ["fill", "a [MASK]"], ["attend", "a"], ["chat"]]
)
def test_other_commands_say_what_a_tagger_is_for(tagger, command, capsys):
    assert main([command[0], str(tagger), *command[1:]]) == 2
    assert f'lmexp label {tagger} --text "A sentence' in capsys.readouterr().err


def test_show_shows_entities(tagger, capsys):
    assert main(["show", str(tagger)]) == 0
    assert "[LOC]" in capsys.readouterr().out
