"""Layers that are computed again have the same gradient, bit for bit, and keep less."""

import pytest
import torch
from torch import nn

from lmexp.networks.interface import Vocab
from lmexp.recipe import compose
from lmexp.recompute import recompute_blocks
from lmexp.targets import build

VOCAB = Vocab(size=50, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
SMALL = ["model.d_model=16", "model.num_layers=4", "model.dropout=0.3"]


def network(model: str) -> nn.Module:
    extra = ["model.num_heads=2", "model.num_kv_heads=2", "model.d_ff=64"]
    recipe = compose([f"model={model}", *SMALL, *(extra if model == "transformer" else [])])
    torch.manual_seed(0)
    return build(recipe["model"]).decoder(VOCAB)


def gradient(model: nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """Of a loss under dropout, and the bytes that were kept for it."""
    kept: dict[int, int] = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(5, 50, (4, 24), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(ids).square().mean()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("model", ["transformer", "lstm", "gru", "rnn"])
def test_the_gradient_is_the_same(model):
    plain, again = network(model), network(model)
    recompute_blocks(again)

    expected, _ = gradient(plain)
    found, _ = gradient(again)

    assert found.keys() == expected.keys()
    assert again.state_dict().keys() == plain.state_dict().keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_transformer_keeps_less_than_half():
    plain, again = network("transformer"), network("transformer")
    recompute_blocks(again)

    assert gradient(again)[1] < 0.5 * gradient(plain)[1]


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match=r"Embedding has no nn\.ModuleList"):
        recompute_blocks(nn.Embedding(3, 3))
