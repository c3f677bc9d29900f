"""Each check of data against data that break what it claims, and that alone."""

import random

import pytest
from checking import TRANSFORMER, failing
from labelled_runs import classifier, tagger, write_labelled, write_tagged
from question_runs import answering, write_questions

WORDS = ("the", "a", "sees", "in", "went", "to", "and", "from", "with", "Rome", "Oslo", "Ann")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Tokenizers that lie about their hash spoil nobody else's stores."""
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lmexp.checks.subject.STEPS", 60)


def write_text(file, seed=0, count=150):
    """Documents of random words, a line each."""
    rng = random.Random(seed)
    lines = (" ".join(rng.choices(WORDS, k=rng.randint(5, 9))) for _ in range(count))
    file.write_text("".join(f"{line}\n" for line in lines))


def of_text(folder, *more):
    write_text(folder / "text.txt")
    data = ["data=text", f"data.files={folder / 'text.txt'}", "data.corpus.document=line"]
    sizes = ["data.max_length=40", "data.batch_size=16", "tokenizer=byte"]
    brief = ["trainer=debug", "trainer.max_steps=100", "optimizer.lr=0.01"]
    return [*TRANSFORMER, *data, *sizes, *brief, "schedule.warmup_steps=10", *more]


def of_pairs(*more):
    sizes = ["data.corpus.size=200", "data.corpus.val_size=20", "data.corpus.test_size=20"]
    lengths = ["data.corpus.min_length=8", "data.batch_tokens=512", "schedule.warmup_steps=10"]
    brief = ["trainer=debug", "trainer.max_steps=100", "optimizer.lr=0.01"]
    return [*TRANSFORMER, "data=reverse", *sizes, *lengths, *brief, *more]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("Unshifted", "labels are not shifted"),
        ("ShiftedTwice", "labels are shifted twice"),
        pytest.param("HalfIgnored", "predicted by nobody", marks=pytest.mark.slow),
    ],
)
def test_labels_of_a_language_model_are_the_next_tokens(module, said, tmp_path):
    found = failing(of_text(tmp_path, f"data._target_=misread.{module}"), tmp_path)
    found.pop("initial loss", None)  # tied weights copy: better than a guess, if not shifted

    assert found.keys() == {"label alignment"}, found
    assert said in found["label alignment"]


@pytest.mark.parametrize("module", ["ShownIsAsked", "MasksAreAsked"])
def test_labels_of_a_masked_model_are_hidden_tokens(module, tmp_path):
    masked = ["task=masked_lm", "data.pairs=null", f"data._target_=misread.{module}"]
    found = failing(of_text(tmp_path, *masked), tmp_path)

    assert "label alignment" in found
    assert found.keys() <= {"label alignment", "eight examples"}, found


def test_labels_of_an_autoencoder_are_what_its_decoder_reads_next(tmp_path):
    vae = ["task=vae_lm", "task.latent_size=8", "data._target_=misread.SentencesUnshifted"]

    assert failing(of_text(tmp_path, *vae), tmp_path).keys() == {"label alignment"}


def test_labels_of_pairs_are_what_the_decoder_reads_next(tmp_path):
    found = failing(of_pairs("data._target_=misread.PairsUnshifted"), tmp_path)
    found.pop("initial loss", None)

    assert found.keys() == {"label alignment"}, found


def test_padding_is_not_predicted(tmp_path):
    found = failing(of_pairs("data._target_=misread.PaddingPredicted"), tmp_path)

    assert found.keys() == {"padding in the loss"}, found


def test_a_decoder_of_pairs_does_not_look_ahead(tmp_path):
    found = failing(of_pairs("model._target_=misbuilt.PeekingPairs"), tmp_path)

    assert found.keys() == {"causality"}, found


@pytest.mark.parametrize(
    ("module", "said"), [("TagsShifted", "in the files"), ("LastSubword", "does not begin it")]
)
def test_the_first_token_of_a_word_carries_its_tag(module, said, tmp_path):
    write_tagged(tmp_path)
    more = ["data.max_length=60", "tokenizer=byte", f"data._target_=misread.{module}"]
    found = failing(tagger(tmp_path, *more), tmp_path)

    assert found.keys() == {"label alignment"}, found
    assert said in found["label alignment"]


def test_a_text_has_its_own_label(tmp_path):
    write_labelled(tmp_path)
    found = failing(classifier(tmp_path, "data._target_=misread.LabelsOfOthers"), tmp_path)

    assert found.keys() == {"label alignment"}, found


def test_an_answer_is_where_it_stands(tmp_path):
    write_questions(tmp_path)
    found = failing(answering(tmp_path, "data._target_=misread.AnswersShifted"), tmp_path)

    assert found.keys() == {"label alignment"}, found


def test_an_encoder_reads_no_padding(tmp_path):
    write_labelled(tmp_path)
    own = ["model=own", "model.fault='ignores the mask'", "optimizer.lr=0.01"]
    typed = [word for word in classifier(tmp_path) if not word.startswith("model")]

    assert failing([*typed, *own], tmp_path).keys() == {"padding"}


def test_a_tokenizer_that_lower_cases_is_found(tmp_path):
    found = failing(of_text(tmp_path, "data._target_=misread.LowerCased"), tmp_path)

    assert found.keys() == {"tokenizer round trip"}, found
    assert "capitals lost or changed" in found["tokenizer round trip"]


def test_a_tokenizer_that_is_fitted_anew_is_found(tmp_path):
    more = ["tokenizer=char", "data._target_=misread.AnotherTokenizer"]
    found = failing(of_text(tmp_path, *more), tmp_path)

    assert found.keys() == {"tokens of the text"}, found


def test_a_vocabulary_of_words_does_not_fit_a_text_without_spaces(tmp_path):
    rng = random.Random(0)
    lines = ("".join(rng.choices("0123456789", k=12)) for _ in range(300))
    typed = of_text(tmp_path, "tokenizer=word", "data.batch_size=4", "data.max_length=20")
    (tmp_path / "text.txt").write_text("".join(f"{line}\n" for line in lines))

    found = failing(typed, tmp_path)

    assert "tokenizer round trip" in found
    assert "tokenizer=bpe, or char" in found["tokenizer round trip"]


def test_a_test_file_that_is_the_training_file_is_found(tmp_path):
    write_text(tmp_path / "val.txt", seed=1, count=20)
    files = [f"data.val_files={tmp_path / 'val.txt'}", f"data.test_files={tmp_path / 'text.txt'}"]
    found = failing(of_text(tmp_path, *files), tmp_path)

    assert found.keys() == {"train/test overlap"}, found
    assert "test: 150 of 150 lines, 150 of 150 documents" in found["train/test overlap"]


def test_a_warm_up_counted_in_samples_is_found(tmp_path):
    found = failing(of_text(tmp_path, "schedule.warmup_steps=1600"), tmp_path)

    assert found.keys() == {"learning rate"}, found
    assert "at step 99 of 100" in found["learning rate"]
