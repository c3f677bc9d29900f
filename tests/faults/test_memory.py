"""Out of memory in a step: the step is begun anew in smaller pieces, with the same gradient."""

import pytest
import torch
from interruption import flat
from kinds import KINDS, one_each, overrides

from lmexp import checkpoint as checkpoints


def check(server, text, folder, kind: str, ranks: int, victim: str, faults=()) -> None:
    """Where batches of more than one row do not fit, dropout off, the weights end as they would."""
    task = KINDS[kind].task
    settings = ["model.dropout=0", "trainer.micro_batches=2", "trainer.max_steps=12"]
    for name, limits in (("whole", []), ("cut", [[victim, "lack_memory", f"{task}.sums:7", 1]])):
        ended = server.run(
            [*overrides(kind, folder / name, text, ranks=ranks), *settings], [*limits, *faults]
        )
        assert ended.status == 0, ended.errors
    assert "cut into 2 pieces" in ended.errors
    assert f"cut into {8 if 'translation' in kind else 4} pieces" in ended.errors
    whole, cut = (
        checkpoints.read(folder / name / "checkpoints" / "last.ckpt") for name in ("whole", "cut")
    )
    assert cut["training"]["pieces"] > 1  # remembered
    ours, theirs = flat(cut["state_dict"]), flat(whole["state_dict"])
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-6, msg=name)
    if whole["training"]["carried"]:
        for name, value in flat(cut["training"]["carried"]).items():
            expected = flat(whole["training"]["carried"])[name]
            assert value is None or torch.allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "where"), one_each([(1, "launcher"), (2, "0"), (2, "1")]))
def test_a_step_in_pieces_has_the_same_gradient(kind, where, server, text, tmp_path):
    ranks, victim = where
    check(server, text, tmp_path, kind, ranks, victim)


def test_where_one_row_does_not_fit_the_run_ends_with_what_to_do(server, text, tmp_path):
    limits = [["1", "lack_memory", f"{KINDS['lstm'].task}.sums:7", 0]]

    ended = server.run(overrides("lstm", tmp_path / "run", text, ranks=2), limits)

    assert ended.status == 2
    assert "step 3, with each micro-batch cut into pieces of one row" in ended.errors
    assert "Traceback" not in ended.errors
