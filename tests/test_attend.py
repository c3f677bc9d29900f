"""`attend`: what is drawn is what the network looks at; a mistake is one clear line."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bigram import write_checkpoint

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.build import build_task, vocab_of
from lmexp.networks.attention import SelfAttention
from lmexp.networks.interface import Vocab
from lmexp.networks.transformer import Transformer
from lmexp.recipe import compose
from lmexp.tokenizers import Bytes, Chars, PairTokenizer

SIZES = ["model.d_model=32", "model.num_layers=2", "model.dropout=0.0", "logger=none"]
PAIRS = ["data=dates", "eval.beam_size=2", "eval.max_extra=2"]
MODELS = {
    "transformer": ["model=transformer", "model.num_heads=2", "model.d_ff=48", *PAIRS],
    "gru": ["model=gru", *PAIRS],
    "causal": ["model=transformer", "model.num_heads=2", "model.d_ff=48", "tokenizer=byte"],
    "recurrent": ["model=lstm", "tokenizer=byte"],
}


def write_run(folder: Path, typed: list[str], change: Any = None) -> Path:
    """A run folder with a checkpoint of a network that was never trained."""
    recipe = compose([*typed, *SIZES])
    tokenizer: Any = Bytes(extra=[])
    if "data=dates" in typed:
        chars = Chars(vocab_size=None, min_count=1, byte_fallback=True)
        chars.fit(lambda: ["abcdefg März"])
        tokenizer = PairTokenizer(chars, chars)
    task = build_task(recipe, vocab_of(tokenizer), None)
    if change is not None:
        change(task.network)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("seed: 0\n")
    content = {
        "recipe": recipe,
        "tokenizer": tokenizer.state(),
        "data_hash": "0a1b",
        "state_dict": task.state_dict(),
        "training": {"average": None, "steps_done": 7},
    }
    checkpoints.save(content, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: write_run(folder / name, typed) for name, typed in MODELS.items()}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What was given to draw_attention; nothing is drawn."""
    given = SimpleNamespace()

    def draw(weights, looking, looked_at, path, **more):
        given.__dict__.update(more)
        given.weights, given.looking, given.looked_at = weights, looking, looked_at
        return frozenset()

    monkeypatch.setattr("lmexp.attention_maps.draw_attention", draw)
    return given


@pytest.mark.parametrize(("model", "heads"), [("transformer", 2), ("gru", 1)])
@pytest.mark.parametrize("target", [None, "fade"])
def test_rows_are_what_is_put_out_and_sum_up_to_1(model, heads, target, runs, drawn, capsys):
    more = [] if target is None else ["--target", target]

    assert main(["attend", str(runs[model]), "bad cab", *more]) == 0

    assert drawn.looked_at == ["b", "a", "d", "␣", "c", "a", "b", "<eos>"]
    assert drawn.looking[-1] == "<eos>"
    if target is not None:
        assert drawn.looking == ["f", "a", "d", "e", "<eos>"]
    assert drawn.weights.shape == (heads, len(drawn.looking), 8)
    np.testing.assert_allclose(drawn.weights.sum(-1), 1.0, rtol=1e-5)
    assert ("output: " in capsys.readouterr().out) == (target is None)


def test_the_output_is_what_translate_finds(runs, drawn, capsys, monkeypatch):
    for beam in ("1", "3"):
        assert main(["attend", str(runs["gru"]), "bad cab", "--beam", beam]) == 0
        output = capsys.readouterr().out.splitlines()[0].removeprefix("output: ")

        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"bad cab\n")))
        assert main(["translate", str(runs["gru"]), "--beam", beam]) == 0
        assert capsys.readouterr().out.removesuffix("\n") == output


def looks_at_its_like(network: torch.nn.Module) -> None:
    """Each token is a unit vector, and a target token looks where the source holds the same."""
    with torch.no_grad():
        network.target_embed.weight.zero_()
        network.target_embed.weight[:, :].fill_diagonal_(1.0)
        for name, weight in network.named_parameters():
            if name.endswith(("attention.out.weight", "down.weight")):
                weight.zero_()  # nothing is mixed in: the residual stream is the embedding
            elif name.endswith("cross_attention.query.weight"):
                weight.copy_(torch.eye(len(weight)))
            elif name.endswith("cross_attention.key_value.weight"):
                weight.copy_(torch.eye(weight.shape[1]).repeat(2, 1))


def test_a_network_that_looks_at_its_like_is_drawn_so(tmp_path, drawn):
    typed = ["model=transformer", "model.num_heads=1", "model.d_ff=48", "model.num_kv_heads=1"]
    more = ["model.norm_first=true", "model.positions=rotary", "data=dates"]
    sizes = ["model.d_model=300"]  # of a vector each for 263 ids and the letters
    run = write_wide(tmp_path / "run", [*typed, *more, *sizes])

    assert main(["attend", str(run), "cabd", "--target", "abc"]) == 0

    rows = drawn.weights[0]  # reading <bos>, a, b and c
    np.testing.assert_allclose(rows[0], 0.2, rtol=1e-5)  # no <bos> in the source: 5 tokens alike
    assert rows[1:].argmax(axis=1).tolist() == [1, 2, 0]
    # unit vectors have a norm of sqrt(300) after RMSNorm: 300 / sqrt(300) more for the like
    np.testing.assert_allclose(rows[1:].max(axis=1), 1 / (1 + 4 * np.exp(-(300**0.5))), rtol=1e-4)


def write_wide(folder: Path, typed: list[str]) -> Path:
    """write_run, without the sizes of the others."""
    recipe_sizes = [name for name in SIZES if "d_model" not in name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "SIZES", recipe_sizes)
        return write_run(folder, typed, looks_at_its_like)


def test_a_language_model_looks_at_itself_and_never_ahead(runs, drawn):
    assert main(["attend", str(runs["causal"]), "a b"]) == 0

    assert drawn.looking == drawn.looked_at == ["<bos>", "a", "␣", "b"]
    np.testing.assert_allclose(drawn.weights.sum(-1), 1.0, rtol=1e-5)
    assert (np.triu(drawn.weights, 1) == 0).all()
    assert (np.tril(np.ones((4, 4)) - drawn.weights) < 1).all()  # it looks everywhere before


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_weights_of_self_attention_mix_what_the_layer_mixes(groups, positions):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": groups, "d_ff": 48}
    kinds = {"activation": "relu", "norm": "layer", "norm_first": False, "positions": positions}
    rest = {"max_length": 16, "dropout": 0.0, "bias": True, "tied": True, "shares_embeddings": True}
    network = Transformer(**sizes, **kinds, **rest).decoder(Vocab(61, 0, 2, 3, 4)).eval()
    seen: list[tuple[Any, torch.Tensor]] = []
    attentions = [part for part in network.modules() if isinstance(part, SelfAttention)]
    for part in attentions:
        part.register_forward_hook(lambda _, given, out: seen.append((given, out)))

    ids = torch.randint(7, 61, (3, 9))
    weights = network.self_attention(ids)

    assert weights.shape == (2, 3, 4, 9, 9)
    for part, own, ((x, _, turn, *_), out) in zip(attentions, weights, seen, strict=True):
        value = part._project(x, turn)[2].repeat_interleave(4 // groups, dim=1)
        mixed = part.out((own @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(mixed, out, rtol=1e-5, atol=1e-6)


def test_layer_and_mean_of_heads_are_chosen(runs, drawn):
    found = {}
    for name, typed in {"1": "--layer 1", "last": "", "2": "--layer 2"}.items():
        assert main(["attend", str(runs["transformer"]), "abc", *typed.split()]) == 0
        found[name] = drawn.weights
    assert main(["attend", str(runs["transformer"]), "abc", "--heads", "mean"]) == 0

    assert drawn.panels == ["mean of 2 heads"]
    np.testing.assert_allclose(drawn.weights[0], found["2"].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(found["last"], found["2"])
    assert not np.array_equal(found["1"], found["2"])


def test_the_picture_lies_in_the_run_and_its_path_is_printed(runs, capsys, monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    run = runs["gru"]

    assert main(["attend", str(run), "a März 三月 $\\frac$"]) == 0

    told = capsys.readouterr()
    path = Path(told.out.splitlines()[-1])
    assert path.parent == run / "attention"
    assert path.name.startswith("a-März-三月-frac-layer1-")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "no font of this machine has 三 月" in told.err
    assert told.err.count("\n") == 1


def test_the_picture_goes_where_it_was_told_to(runs, tmp_path):
    out = tmp_path / "a.png"
    assert main(["attend", str(runs["causal"]), "abc", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["recurrent", "abc"], "is of a language model without attention (RecurrentDecoder)"),
        (["causal", "abc", "--target", "b"], "--target b: "),
        (["causal", "abc", "--beam", "2"], "--beam 2: "),
        (["gru", "abc", "--beam", "0"], "--beam 0: at least 1"),
        (["gru", "abc", "--beam", "2", "--target", "b"], "--beam 2 is of a search"),
        (["gru", "abc", "--layer", "2"], "--layer 2: this network has attention in 1"),
        (["transformer", "abc", "--layer", "0"], "--layer 0: this network has attention in 2"),
        (["gru", " "], "the text is empty"),
        (["gru", "abc", "--target", ""], "--target is empty"),
        (["gru", "a\udcff"], "the text is not UTF-8 throughout"),
        (["gru", "abc", "--out", "a.pdf"], "--out a.pdf: PNG is written"),
        (["gru", "a" * 150], "the text has 151 tokens, bos or eos included, and the model was"),
        (["gru", "abc", "--target", "a" * 128], "--target has 129 tokens"),
        (["causal", "a" * 120], "the text has 121 tokens, and no more than 100 can be read"),
    ],
)
def test_a_mistake_is_one_line(typed, told, runs, capsys):
    assert main(["attend", str(runs[typed[0]]), *typed[1:]]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error


def test_a_network_of_the_users_without_such_weights_is_refused(tmp_path, capsys):
    run, _ = write_checkpoint(tmp_path, "abc\n")

    assert main(["attend", str(run), "abc", "--allow-targets", "bigram"]) == 2

    assert "without attention (Bigram)" in capsys.readouterr().err
