import dataclasses

import numpy as np
import pytest

from lmexp import tokenizers
from lmexp.batch import IGNORE
from lmexp.corpora.reverse import Reverse
from lmexp.pair_cleaning import PairCleaning
from lmexp.pair_data import PairDataModule
from lmexp.pair_evaluation import EvalPairs
from lmexp.tokenizers import BOS_ID, EOS_ID, Words

CLEANING = PairCleaning(
    unescape_html=False,
    strip_control=False,
    nfc=False,
    drop_empty=True,
    drop_identical=False,
    max_chars=None,
    max_ratio=None,
    scripts=None,
    drop_duplicates=False,
)
EVALUATION = EvalPairs(
    beam_size=2,
    length_penalty=0.6,
    max_ratio=1.0,
    max_extra=5,
    min_ratio=0.0,
    no_repeat_ngram=0,
    coverage_penalty=0.0,
    batch_size=8,
    batch_tokens=200,
    sample_pairs=0,
    metrics=("bleu",),
    execute=False,
)


def corpus(**changes):
    sizes = {"size": 300, "min_length": 1, "max_length": 9, "vocabulary": 7, "seed": 0}
    return Reverse(**(sizes | {"val_size": 20, "test_size": 21} | changes))


def module(**changes):
    options = {
        "joint": True,
        "language_tags": [],
        "max_length": 32,
        "batch_size": None,
        "batch_tokens": 200,
        "num_workers": 0,
        "root": None,
        "seed": 0,
        "micro_batches": 2,
        "evaluation": EVALUATION,
    } | changes
    text = options.pop("corpus", None) or corpus()
    return PairDataModule(text, Words(vocab_size=None, min_count=1), CLEANING, **options)


@pytest.fixture
def data():
    data = module()
    data.prepare()
    return data


def targets(data, batches):
    """The target texts of some batches, in order."""
    rows = [row[row != IGNORE].tolist() for batch in batches for row in batch.labels]
    assert all(row[-1] == EOS_ID for row in rows)
    return [data.tokenizer.target.decode(row) for row in rows]


def test_an_epoch_reads_every_training_pair_once(data):
    loader = iter(data.train_dataloader())
    steps = [next(loader) for _ in range(data.steps_per_epoch)]

    read = targets(data, [batch for step in steps for batch in step.micro_batches])

    assert sorted(read) == sorted(pair.target for pair in corpus().pairs("train"))
    assert [step.step for step in steps] == list(range(data.steps_per_epoch))


def test_source_and_target_of_a_row_belong_together(data):
    batch = next(iter(data.train_dataloader())).micro_batches[0]

    for source, mask, read, label in zip(*batch, strict=True):
        words = data.tokenizer.source.decode(source[mask].tolist()).split()
        assert data.tokenizer.target.decode(label[label != IGNORE].tolist()).split() == words[::-1]
        assert read[0] == BOS_ID


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_evaluation_reads_every_pair_once(data, split):
    read = targets(data, data.eval_dataloader(split))
    assert sorted(read) == sorted(pair.target for pair in corpus().pairs(split))


def test_texts_of_an_evaluation_are_as_the_corpus_gave_them(data):
    texts = data.store("test").texts()
    assert texts == [[pair.source, pair.target] for pair in corpus().pairs("test")]


def test_a_run_goes_on_at_any_position(data):
    loader = iter(data.train_dataloader())
    steps = [next(loader) for _ in range(data.steps_per_epoch + 3)]
    data.start_at((1, 2))

    step = next(iter(data.train_dataloader()))

    assert (step.epoch, step.step) == (1, 2)
    for ours, theirs in zip(step.micro_batches, steps[-1].micro_batches, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_joint_tokenizers_give_one_vocabulary_and_separate_ones_two(data):
    separate = module(joint=False)
    separate.prepare()

    (source, target), (own_source, own_target) = data.vocab, separate.vocab
    assert source is target
    assert own_source is not own_target
    assert not separate.tokenizer.is_joint


def test_the_tokenizer_knows_the_training_pairs_alone():
    data = module(corpus=corpus(vocabulary=150, size=60, val_size=100, max_length=3))
    data.prepare()

    seen = {word for pair in data.corpus.pairs("train") for word in pair.source.split()}
    assert all(data.tokenizer.source.encode(word) != [tokenizers.UNK_ID] for word in seen)
    assert data.store("val").num_unk > 0


def test_longer_pairs_are_dropped_in_training_and_cut_elsewhere():
    data = module(max_length=4, corpus=corpus(min_length=3))
    data.prepare()

    facts = data.facts()
    assert facts["train"]["dropped"]["longer than 4 tokens"] > 0
    assert facts["test"]["pairs"] == 21
    assert facts["test"]["dropped"]["cut at 4 tokens"] > 0
    assert data.store("train").target_lengths.max() == 4


def test_other_pairs_than_a_run_began_with_are_refused(data):
    with pytest.raises(ValueError, match="have changed since the run began"):
        module(corpus=corpus(seed=1)).prepare(data_hash=data.data_hash)


def test_facts_tell_padding_and_overlap(data):
    facts = data.facts()
    assert 0 <= facts["padding"] < facts["padding_of_random_batches"] < 1
    assert facts["val"]["documents_in_train"] == 0
    assert facts["train"]["pairs"] == 300


def tagged(**changes):
    """Sources that begin with <2de>."""
    text = corpus(**changes.pop("sizes", {}))
    text.languages = ("en", "de")
    return module(corpus=text, language_tags=["de", "fr"], **changes)


@pytest.mark.parametrize("joint", [True, False])
def test_the_tag_of_the_targets_language_begins_the_sources_of_every_split(joint, data):
    with_tags = tagged(joint=joint)
    with_tags.prepare()

    sizes = with_tags.vocab.source.size, with_tags.vocab.target.size
    assert sizes == (data.vocab.source.size + 2, data.vocab.target.size + (2 if joint else 0))
    for split in ("train", "val", "test"):
        ours, plain = with_tags.store(split), data.store(split)
        for row in range(0, plain.num_pairs, 7):
            tag, *rest = ours.source_ids(row)
            assert tag == with_tags.tokenizer.tags["de"]
            assert with_tags.tokenizer.source.decode(rest) == data.tokenizer.source.decode(
                plain.source_ids(row)
            )
        assert ours.target_lengths.tolist() == plain.target_lengths.tolist()


def test_max_length_counts_the_tag():
    data = tagged(max_length=4, sizes={"min_length": 3, "max_length": 3, "vocabulary": 20})
    with pytest.raises(ValueError, match="300 longer than 4 tokens"):
        data.prepare()


def test_tags_that_do_not_fit_the_data_are_refused():
    text = corpus()
    with pytest.raises(ValueError, match=r"also write data.pair=en-de or data.languages=\[en,de\]"):
        module(corpus=text, language_tags=["de"])
    text.languages = ("en", "de")
    with pytest.raises(ValueError, match=r"no tag of 'de', .*: write data.language_tags=\[fr,de\]"):
        module(corpus=text, language_tags=["fr"])
    with pytest.raises(ValueError, match=r"language_tags=\[de,de\] has an empty code or one twice"):
        module(corpus=text, language_tags=["de", "de"])


def test_samples_are_greedy_and_leave_coverage_out():
    evaluation = dataclasses.replace(EVALUATION, coverage_penalty=0.2)
    assert evaluation.beam.coverage_penalty == 0.2
    assert (evaluation.greedy.size, evaluation.greedy.coverage_penalty) == (1, 0.0)
