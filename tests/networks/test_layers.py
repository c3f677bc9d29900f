import pytest
import torch

from lmexp.networks.layers import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_p_of_all_and_scales_the_rest(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype)

    dropped = Dropout(p)(x)

    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=0.01)
    if dtype == torch.float32:
        assert dropped.mean().item() == pytest.approx(1, abs=0.01)


def test_neighbouring_elements_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.25)(torch.ones(10**6)) == 0).float() - 0.25
    for lag in range(1, 9):
        assert (dropped[lag:] * dropped[:-lag]).mean().abs().item() < 0.001  # 5 standard errors


def test_the_gradient_passes_where_something_was_kept():
    x = torch.randn(7, 5, requires_grad=True)
    dropped = Dropout(0.5)(x)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad * x, dropped)


def test_the_same_seed_drops_the_same():
    drop, x = Dropout(0.5), torch.ones(33)
    torch.manual_seed(3)
    first = drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first)


def test_nothing_is_dropped_outside_training():
    x = torch.ones(3)
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(0.0)(x) is x
