"""A network in parts: who holds what; refusals. What is learnt: tests/faults/test_sharded.py."""

import pickle
import shutil

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from lmexp import checkpoint as checkpoints
from lmexp import checkpoint_parts
from lmexp.__main__ import main as command
from lmexp.checkpoint_files import link
from lmexp.ranks import Ranks
from lmexp.recipe import main
from lmexp.sharding import Shards, blocks, shard

RANKS, RANK = 4, 1


class Small(nn.Module):
    """Two blocks, a recurrent layer, a tied output of as many rows as ranks and one more."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(RANKS + 1, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.cells = nn.ModuleList([nn.LSTM(4, 4, batch_first=True)])
        self.gain = nn.Linear(4, 1, bias=False)  # one row: most ranks have none of it
        self.output = nn.Linear(4, RANKS + 1, bias=False)
        self.output.weight = self.embed.weight

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.cells[0](x)[0] * self.gain(x)


@pytest.fixture
def whole():
    torch.manual_seed(0)
    return {name: value.detach().clone() for name, value in Small().named_parameters()}


@pytest.fixture
def shards():
    """Of rank 1 of four, the others of which are not there: what is gathered means nothing."""
    distributed.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=RANKS)
    torch.manual_seed(0)
    network = Small()
    shard(network, init_device_mesh("cpu", (RANKS,)))
    yield Shards(network, is_first=False)
    distributed.destroy_process_group()


def test_blocks_are_the_entries_of_lists_of_modules_but_recurrent_layers():
    network = Small()

    assert blocks(network) == list(network.layers)


def test_a_rank_holds_the_rows_that_chunk_gives_it(shards, whole):
    rows = {name: tuple(part.shape) for name, part in shards.parts.items()}

    assert rows["layers.0.weight"] == (1, 4)  # 4 rows, one a rank
    assert rows["embed.weight"] == (2, 4)  # 5 rows: 2, 2, 1 and 0
    assert rows["gain.weight"] == (0, 4)  # 1 row: the first rank's
    assert torch.equal(shards.parts["embed.weight"], whole["embed.weight"][2:4])
    assert torch.equal(shards.parts["layers.1.weight"], whole["layers.1.weight"][1:2])


def test_parts_of_whole_tensors_are_the_rows_of_the_parameters(shards, whole):
    mine = shards.mine(whole)

    assert mine.keys() == shards.parts.keys()
    for name, part in mine.items():
        assert torch.equal(part, shards.parts[name]), name


def test_optimizer_and_network_share_the_memory_of_the_parts(shards):
    before = shards.parts["layers.0.weight"].detach().clone()
    optimizer = torch.optim.SGD([shards.parts["layers.0.weight"]], lr=1.0)
    shards.parts["layers.0.weight"].grad = torch.ones(1, 4)

    optimizer.step()

    cut = dict(shards._network.named_parameters())["layers.0.weight"]
    assert torch.equal(cut.to_local(), before - 1)


def test_state_of_an_optimizer_is_cut_where_it_is_as_large_as_a_parameter(shards):
    names = ["embed.weight", "layers.0.weight"]
    optimizer = torch.optim.AdamW([shards.parts[name] for name in names])
    moments = torch.arange(20.0).view(5, 4), torch.arange(16.0).view(4, 4)
    state = optimizer.state_dict()
    state["state"] = {
        index: {"step": torch.tensor(3.0), "exp_avg": moment, "exp_avg_sq": moment + 1}
        for index, moment in enumerate(moments)
    }

    shards.load_optimizer_state(optimizer, state)

    ours = optimizer.state[shards.parts["embed.weight"]]
    assert ours["step"] == 3
    assert torch.equal(ours["exp_avg"], moments[0][2:4])
    assert torch.equal(ours["exp_avg_sq"], moments[0][2:4] + 1)
    assert torch.equal(optimizer.state[shards.parts["layers.0.weight"]]["exp_avg"], moments[1][1:2])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=muon", "optimizer._target_=lmexp.optimizers.Muon: with trainer.strategy=fsdp"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: whether a scaled gradient"),
    ],
)
def test_what_does_not_work_in_parts_is_refused(override, message, tmp_path, capsys):
    folder = tmp_path / "run"

    status = main(["trainer=fsdp", override, f"hydra.run.dir={folder}"])

    assert status == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


@pytest.fixture
def parts_of_one(tmp_path):
    """A checkpoint folder, of one rank, and what it was written from."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    torch.manual_seed(0)
    whole = {"embed": torch.randn(5, 4), "gain": torch.randn(3).bfloat16()}
    cut = {name: DTensor.from_local(value, mesh, [Shard(0)]) for name, value in whole.items()}
    rest = {"recipe": {}, "tokenizer": {}, "data_hash": "", "training": {"steps_done": 7}}
    checkpoint = {"state_dict": {**cut, "output": cut["embed"], "buffer": torch.ones(2)}, **rest}
    checkpoint["optimizer_states"] = [{"state": {0: {"step": 3, "exp_avg": cut["gain"]}}}]
    checkpoint_parts.write(checkpoint, tmp_path / "last.ckpt", Ranks())
    distributed.destroy_process_group()
    return tmp_path / "last.ckpt", whole


def test_a_folder_reads_as_the_whole_checkpoint(parts_of_one):
    folder, whole = parts_of_one

    found = checkpoints.read(folder)

    assert found.keys() >= {"recipe", "training", "state_dict", "optimizer_states"}
    assert found["training"] == {"steps_done": 7}
    assert found["optimizer_states"][0]["state"][0]["step"] == 3
    assert torch.equal(found["optimizer_states"][0]["state"][0]["exp_avg"], whole["gain"])
    assert found["state_dict"].keys() == {"embed", "gain", "output", "buffer"}
    assert torch.equal(found["state_dict"]["embed"], whole["embed"])
    assert found["state_dict"]["output"] is found["state_dict"]["embed"]  # tied
    assert torch.equal(found["state_dict"]["buffer"], torch.ones(2))


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "rest.ckpt", "manifest.json"])
@pytest.mark.parametrize("damage", ["one byte", "missing"])
def test_a_damaged_folder_is_refused_whatever_is_damaged(name, damage, parts_of_one):
    folder, _ = parts_of_one
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).unlink()
    if damage == "one byte":
        (folder / name).write_bytes(content)

    with pytest.raises(ValueError, match=r"is damaged|is missing|without manifest\.json"):
        checkpoints.verify(folder)


@pytest.mark.parametrize("manifest", ["[1]", "{}", '{"rest.ckpt": ""}', "{"])
def test_a_manifest_of_something_else_is_damaged(manifest, parts_of_one):
    folder, _ = parts_of_one
    (folder / "manifest.json").write_text(manifest)

    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        checkpoints.verify(folder)


def test_a_folder_without_its_manifest_is_no_checkpoint(parts_of_one):
    folder, _ = parts_of_one
    (folder / "manifest.json").unlink()

    with pytest.raises(ValueError, match=r"a folder without manifest\.json"):
        checkpoints.read(folder)


def test_metadata_that_name_other_code_are_not_read(parts_of_one):
    folder, _ = parts_of_one
    (folder / ".metadata").write_bytes(pickle.dumps(print))

    with pytest.raises(ValueError, match=r"names builtins\.print"):
        checkpoint_parts.read(folder)


def test_a_newer_damaged_folder_is_passed_over(parts_of_one, tmp_path):
    folder, _ = parts_of_one
    (tmp_path / "checkpoints").mkdir()
    link(folder, tmp_path / "checkpoints" / "previous.ckpt")
    shutil.copytree(folder, tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "checkpoints" / "last.ckpt" / "rest.ckpt").write_bytes(b"x")
    said = []

    found = checkpoints.newest_good(tmp_path, warn=said.append)

    assert found == tmp_path / "checkpoints" / "previous.ckpt"
    assert "rest.ckpt is damaged" in said[0]


def test_folders_and_files_take_one_anothers_place(parts_of_one, tmp_path):
    folder, whole = parts_of_one
    files = tmp_path / "checkpoints"
    files.mkdir()
    one = checkpoints.read(folder)
    for write in (
        lambda path: checkpoints.save({**one, "data_hash": "first"}, path),
        lambda path: link(folder, path),
        lambda path: checkpoints.save({**one, "data_hash": "third"}, path),
        lambda path: checkpoints.save({**one, "data_hash": "fourth"}, path),
    ):
        write(files / "newest.ckpt")
        checkpoints.rotate(files)

    hashes = [checkpoints.read(files / n)["data_hash"] for n in ("last.ckpt", "previous.ckpt")]
    assert hashes == ["fourth", "third"]
    link(folder, files / "best.ckpt")
    link(files / "last.ckpt", files / "best.ckpt")
    assert (files / "best.ckpt").samefile(files / "last.ckpt")
    link(folder, files / "best.ckpt")
    assert torch.equal(checkpoints.read(files / "best.ckpt")["state_dict"]["embed"], whole["embed"])
    assert {path.name for path in files.iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


def test_consolidate_writes_an_ordinary_file(parts_of_one, capsys):
    folder, whole = parts_of_one

    assert command(["consolidate", str(folder)]) == 0

    out = folder.with_name("whole-last.ckpt")
    assert str(out) in capsys.readouterr().out
    saved = torch.load(out, weights_only=True)
    assert torch.equal(saved["state_dict"]["embed"], whole["embed"])
    assert command(["consolidate", str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert command(["consolidate", str(out)]) == 2
    assert "is one file already" in capsys.readouterr().err


def test_parts_are_saved_where_there_are_parts_alone(tmp_path, capsys):
    assert main(["trainer=ddp", "trainer.sharded_checkpoints=true"]) == 2
    assert "with trainer.strategy=ddp nothing is sharded" in capsys.readouterr().err
