"""Which server, account and mode of Weights & Biases a run goes by."""

import pytest
from test_mirrors import no_account

from lmexp.check import check
from lmexp.recipe import composition
from lmexp.wandb_sessions import account_mode, base_url, has_account, say_of_wandb

__all__ = ["no_account"]  # a fixture


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com", "my.server:8080"])
def test_an_account_is_found_under_the_names_of_its_server(tmp_path, no_account, monkeypatch, host):
    (tmp_path / "no-netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    if host == "my.server:8080":
        assert not has_account()
        monkeypatch.setenv("WANDB_BASE_URL", "https://my.server:8080")

    assert account_mode() == "online"


def test_the_server_and_mode_that_wandb_saves_are_obeyed(tmp_path, no_account, monkeypatch):
    (tmp_path / "no-netrc").write_text("machine my.server:8080\n  login user\n  password 0\n")
    saved = tmp_path / "wandb-config" / "settings"
    saved.parent.mkdir()
    saved.write_text("[default]\nbase_url = https://my.server:8080\n")  # `wandb login --host=…`

    assert base_url() == "https://my.server:8080"
    assert account_mode() == "online"

    saved.write_text(saved.read_text() + "mode = offline\n")  # `wandb offline`
    assert account_mode() == "offline"

    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert base_url() == "https://api.wandb.ai"
    assert not has_account()
    assert account_mode() == "online"


@pytest.mark.parametrize(("said", "mode"), [("dryrun", "offline"), ("run", "online")])
def test_the_old_words_of_wandb_for_its_modes_are_obeyed(no_account, monkeypatch, said, mode):
    if mode == "offline":
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", said)

    assert account_mode() == mode


@pytest.mark.parametrize("said", ["Offline", ""])
def test_a_mode_that_is_none_of_wandb_is_refused_before_training(no_account, monkeypatch, said):
    found = composition(["logger=wandb"], None, ())
    monkeypatch.setenv("WANDB_MODE", said)

    with pytest.raises(ValueError, match=f"^WANDB_MODE={said}: write online, offline or disabled$"):
        check(found.recipe, (), found.origins)


def test_remarks_on_wandb_are_rid_of_secrets(capsys):
    say_of_wandb("cannot go online (https://me:canary@my.server/graphql)")

    assert capsys.readouterr().err == "W&B: cannot go online (https://***@my.server/graphql)\n"
