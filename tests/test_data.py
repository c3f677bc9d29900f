import itertools

import numpy as np
import pytest
import torch
from poems import DropThirds, Line, Plain, Poems

from lmexp import loaders, tokenizers
from lmexp.batch import IGNORE
from lmexp.cleaning import Cleaning
from lmexp.corpora.text import TextFiles
from lmexp.data import EvalWindows, TextDataModule, text_loader
from lmexp.loaders import Rank

BOS = 2


WHOLE = EvalWindows(context=None, stride=None, carry=False, batch_size=4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))


def module(corpus=None, cleaning=None, **changes):
    settings = {
        "max_length": 16,
        "batch_size": 4,
        "batch_tokens": None,
        "lanes": None,
        "document_mask": True,
        "num_workers": 0,
        "root": None,
        "seed": 0,
        "micro_batches": 2,
        "evaluation": WHOLE,
    }
    settings.update(changes)
    return TextDataModule(
        corpus or Poems(), tokenizers.Bytes(), cleaning or DropThirds(), **settings
    )


def prepared(corpus=None, **changes):
    data = module(corpus, **changes)
    data.prepare()
    return data


def steps(data, number, position=(0, 0)):
    data.start_at(position)
    return list(itertools.islice(data.train_dataloader(), number))


def ids(step):
    return [batch.input_ids.tolist() for batch in step.micro_batches]


def test_batch_tokens_are_rows_of_max_length():
    assert module(batch_size=None, batch_tokens=16 * 5 + 3).rows == 5


def test_the_loader_has_no_end_and_counts_epochs():
    data = prepared()
    each = data.steps_per_epoch

    seen = steps(data, each + 2)

    assert [(step.epoch, step.step) for step in seen[-3:]] == [(0, each - 1), (1, 0), (1, 1)]
    assert not any(step.carries for step in seen)
    assert ids(seen[0]) != ids(seen[each])


def test_a_loader_that_starts_inside_an_epoch_gives_what_was_left():
    whole = steps(prepared(), 12)

    rest = steps(prepared(), 7, (whole[5].epoch, whole[5].step))

    assert [ids(step) for step in rest] == [ids(step) for step in whole[5:]]


def test_a_position_at_the_end_of_an_epoch_is_the_start_of_the_next():
    data = prepared()

    (step,) = steps(data, 1, (0, data.steps_per_epoch))

    assert (step.epoch, step.step) == (1, 0)


@pytest.mark.parametrize("lanes", [None, 4])
def test_ranks_share_out_the_micro_batches_of_a_step(lanes, monkeypatch):
    data = prepared(lanes=lanes)
    (alone,) = steps(data, 1)
    shared = []
    for rank in range(2):
        monkeypatch.setattr("lmexp.data.current_rank", lambda rank=rank: Rank(rank, 2))
        shared += steps(data, 1)

    assert ids(alone) == [ids(shared[0])[0], ids(shared[1])[0]]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2:UserWarning")  # on one core
def test_worker_processes_give_the_same_steps():
    alone = steps(prepared(), 5)

    workers = steps(prepared(num_workers=2), 5)

    assert [ids(step) for step in alone] == [ids(step) for step in workers]


def test_loaders_draw_nothing_from_the_global_generator():
    data = prepared()
    before = torch.get_rng_state()

    steps(data, 2)
    list(data.val_dataloader())

    assert torch.equal(torch.get_rng_state(), before)


def test_lanes_carry_state_and_go_on_where_they_ended():
    data = prepared(lanes=4)
    tokens = data.store("train").tokens

    first, second = steps(data, 2)

    assert (first.carries, second.carries) == (False, True)
    before, after = (
        torch.cat([batch.input_ids for batch in step.micro_batches]) for step in (first, second)
    )
    lanes = torch.cat([before, after], dim=1).numpy()
    starts = data.plan.step(0, 0)
    for lane, start in zip(lanes, np.concatenate(starts), strict=True):
        np.testing.assert_array_equal(lane, tokens[start : start + 32])


@pytest.mark.parametrize("corpus", [Poems, Plain])
@pytest.mark.parametrize("windows", [(None, None, False), (8, 3, False), (8, None, True)])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_evaluation_scores_every_token_but_bos_once(corpus, windows, batch_size):
    data = prepared(corpus(), evaluation=EvalWindows(*windows, batch_size))

    scored = [batch.batch.labels for batch in data.val_dataloader()]

    labels = np.sort(np.concatenate([label[label != IGNORE].numpy() for label in scored]))
    tokens = data.store("val").tokens
    np.testing.assert_array_equal(labels, np.sort(tokens[tokens != BOS]))
    assert len(labels) == data.store("val").num_predicted


def test_ranks_evaluate_as_many_batches_and_together_each_token_once(monkeypatch):
    data = prepared(evaluation=EvalWindows(8, 8, False, 3))
    scored, lengths = 0, set()
    for rank in range(4):
        monkeypatch.setattr("lmexp.data.current_rank", lambda rank=rank: Rank(rank, 4))
        batches = list(data.val_dataloader())
        lengths.add(len(batches))
        scored += sum(int((batch.batch.labels != IGNORE).sum()) for batch in batches)

    assert scored == data.store("val").num_predicted
    assert len(lengths) == 1


def test_a_carried_evaluation_starts_from_zero_at_each_document():
    data = prepared(evaluation=EvalWindows(8, None, True, 4))

    batches = list(data.val_dataloader())

    begins = [bool(batch.batch.input_ids[0, 0] == BOS) for batch in batches]
    assert [not batch.carries for batch in batches] == begins


def test_a_fitted_tokenizer_is_kept():
    data = module()
    kept = data.tokenizer

    data.prepare(fit=False, splits=("test",))

    assert data.tokenizer is kept
    assert len(data.test_dataloader())


def test_facts_count_what_was_read_and_dropped():
    facts = prepared().facts()

    assert facts["source"] == "a test"
    assert facts["train"]["documents"] == 60
    assert facts["train"]["lines"] == 60 * 3
    assert facts["train"]["dropped"] == {"binary": 1, "third": 60}
    assert facts["train"]["bytes"] == facts["train"]["tokens"] - 2 * 60
    assert facts["test"]["lines_in_train"] == 6 * 3  # both begin with t and count from 0
    assert facts["test"]["documents_in_train"] == 6
    assert facts["val"]["lines_in_train"] == facts["val"]["documents_in_train"] == 0


def test_text_of_no_corpus_is_scored(tmp_path):
    lines = [Line("one\n", 0), Line("two three\n", 1)]

    loader, store = text_loader(
        lines, tokenizer=tokenizers.Bytes(), windows=WHOLE, max_length=6, folder=tmp_path / "file"
    )

    assert store.num_bytes == 14
    assert sum(int((step.batch.labels != IGNORE).sum()) for step in loader) == 14 + 2


def test_the_rank_is_that_of_torch_distributed():
    assert loaders.current_rank() == Rank(0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_tokens": 64}, r"batch_size=4 and data.batch_tokens=64: give exactly one"),
        ({"batch_size": None}, r"batch_size=None and data.batch_tokens=None: give exactly one"),
        ({"batch_size": None, "batch_tokens": 15}, r"=15 is less than .* write data.batch_tokens"),
        ({"micro_batches": 5}, r"micro_batches=5 cannot share out the 4 rows"),
        ({"lanes": 3}, r"data.lanes=3, but a step has 4 rows"),
        ({"lanes": "auto"}, r"data.lanes=auto, but a step has 4 rows"),
        ({"evaluation": EvalWindows(4, 5, False, 1)}, r"write eval.stride=4"),
        ({"evaluation": EvalWindows(4, 3, True, 1)}, r"stride=4 or eval.carry=false"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        module(**changes)


def test_a_text_shorter_than_a_step_is_refused():
    with pytest.raises(ValueError, match=r"fewer than the 400 of one step"):
        prepared(batch_size=400)


def test_ptb_has_the_published_numbers_of_tokens(data_folder):
    root = str(data_folder("ptb"))
    names = [f"ptb.{part}.txt" for part in ("train", "valid", "test")]
    corpus = TextFiles(*names, 0.0, 0.0, "tail", "split", "text", "error", root=root)
    nothing = Cleaning(*[False] * 4, None, False)
    data = module(corpus, max_length=35, cleaning=nothing)
    data.tokenizer = tokenizers.Words(vocab_size=None, min_count=1)

    data.prepare()

    assert data.tokenizer.num_types == 10_000
    predicted = [data.store(split).num_predicted for split in ("train", "val", "test")]
    assert predicted == [929_589, 73_760, 82_430]  # Mikolov et al. 2010, the ends of lines included
