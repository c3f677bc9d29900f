"""What a run takes of a machine, on machines that are made up."""

import pytest
import torch

from lmexp import hardware
from lmexp.hardware import Hardware, choose, peak_flops, peak_flops_of_all


@pytest.fixture
def machine(monkeypatch):
    """Pretends that torch runs on a machine."""

    def pretend(
        *, gpus=(), gpu_has_bf16=True, cpu_has_bf16=False, has_mps=False, has_amx=False, vendor=""
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: gpus[index])
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu_has_bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_has_bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
        monkeypatch.setattr(hardware, "cpu_vendor", lambda: vendor)

    return pretend


@pytest.fixture
def measured(monkeypatch):
    """Devices and dtypes that were measured; nothing is multiplied."""
    calls = []
    monkeypatch.setattr(hardware, "_measured_flops", lambda *call: calls.append(call[:2]) or 1.0)
    return calls


@pytest.mark.parametrize(("cpu_has_bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_cpu_trains_in_bfloat16_where_it_multiplies_it(machine, cpu_has_bf16, precision):
    machine(cpu_has_bf16=cpu_has_bf16)

    chosen = choose("auto", "auto", "auto")

    assert (chosen.accelerator, chosen.devices, chosen.precision) == ("cpu", 1, precision)


@pytest.mark.parametrize(
    ("vendor", "has_amx", "precision"),
    [
        ("AuthenticAMD", False, "bf16-mixed"),
        ("GenuineIntel", True, "bf16-mixed"),
        ("GenuineIntel", False, "32-true"),
    ],
)
def test_a_cpu_trains_in_bfloat16_where_that_is_faster(machine, vendor, has_amx, precision):
    machine(cpu_has_bf16=True, has_amx=has_amx, vendor=vendor)

    assert choose("cpu", 1, "auto").precision == precision


@pytest.mark.parametrize(("gpu_has_bf16", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_is_taken_where_there_is_one(machine, gpu_has_bf16, precision):
    machine(gpus=["NVIDIA L4"], gpu_has_bf16=gpu_has_bf16)

    chosen = choose("auto", "auto", "auto")

    assert (chosen.accelerator, chosen.devices, chosen.precision) == ("cuda", 1, precision)
    assert chosen.reason.startswith("1 x NVIDIA L4; ")


def test_of_several_gpus_one_is_taken_and_that_is_said(machine):
    machine(gpus=["NVIDIA L4"] * 3)

    chosen = choose("auto", "auto", "auto")

    assert chosen.devices == 1
    assert "1 x NVIDIA L4, 2 more left idle" in chosen.reason


def test_all_gpus_are_taken_where_that_is_asked_for(machine):
    machine(gpus=["NVIDIA L4"] * 3)

    chosen = choose("auto", "auto", "auto", uses_all=True)

    assert chosen.devices == 3
    assert "idle" not in chosen.reason


def test_as_many_processes_as_asked_for_share_a_cpu(machine):
    machine()

    assert choose("cpu", 4, "32-true").devices == 4
    assert choose("cpu", "auto", "32-true", uses_all=True).devices == 1


def test_a_precision_that_is_asked_for_is_kept(machine):
    machine(gpus=["NVIDIA L4"])

    assert choose("auto", 1, "32-true").precision == "32-true"


def test_bfloat16_on_a_cpu_without_it_is_kept_with_a_warning(machine):
    machine()

    chosen = choose("cpu", 1, "bf16-mixed")

    assert chosen.precision == "bf16-mixed"
    assert "no bfloat16 instructions: 32-true is faster" in chosen.reason


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        ([], ("gpu", "auto", "auto"), "torch finds 0 CUDA devices"),
        ([], ("mps", "auto", "auto"), "finds no Apple GPU"),
        (["NVIDIA L4"], ("gpu", 2, "auto"), "write trainer.devices=1"),
        (["NVIDIA L4"] * 2, ("gpu", 3, "auto"), "write trainer.devices=2"),
        ([], ("cpu", 1, "16-mixed"), "16-mixed needs a GPU"),
    ],
)
def test_what_the_machine_does_not_have_is_refused(machine, gpus, asked, message):
    machine(gpus=gpus)

    with pytest.raises(ValueError, match=message):
        choose(*asked)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L4", 121e12),
    ],
)
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-mixed"])
def test_the_peak_of_a_listed_gpu_at_16_bits_is_that_of_its_data_sheet(
    machine, measured, name, peak, precision
):
    machine(gpus=[name])

    assert peak_flops(Hardware("cuda", 1, precision, "")) == peak
    assert not measured


@pytest.mark.parametrize(
    ("name", "precision", "dtype"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16-mixed", torch.bfloat16),
        ("Tesla T4", "16-mixed", torch.float16),
        ("NVIDIA H200", "32-true", torch.float32),
    ],
)
def test_any_other_peak_is_measured_in_the_dtype_of_the_products(
    machine, measured, name, precision, dtype
):
    machine(gpus=[name])

    peak_flops(Hardware("cuda", 1, precision, ""))

    assert measured == [("cuda", dtype)]


def test_the_peak_of_a_cpu_without_bfloat16_is_that_of_float32(machine, measured):
    machine()

    peak_flops(Hardware("cpu", 1, "bf16-mixed", ""))

    assert measured == [("cpu", torch.float32)]


@pytest.mark.parametrize(
    ("kind", "devices", "threads", "shares"),
    [("cpu", 8, 1, 2), ("cpu", 2, 1, 2), ("cpu", 1, 1, 1), ("cpu", 2, 2, 1), ("cuda", 8, 1, 8)],
)
def test_processes_on_a_cpu_share_the_peak_of_its_cores(
    kind, devices, threads, shares, monkeypatch
):
    monkeypatch.setattr(hardware, "usable_cores", lambda: 2)
    monkeypatch.setattr(hardware, "peak_flops", lambda hardware: 1e9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    assert peak_flops_of_all(Hardware(kind, devices, "32-true", "")) == shares * 1e9


def test_measuring_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    hardware._measured_flops.cache_clear()

    assert hardware._measured_flops("cpu", torch.float32, torch.get_num_threads()) > 1e9

    assert torch.equal(torch.get_rng_state(), before)


def test_a_process_measures_once_for_each_number_of_threads(monkeypatch):
    hardware._measured_flops.cache_clear()
    run = Hardware("cpu", 1, "32-true", "")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    first = peak_flops(run)
    assert peak_flops(run) == first

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    peak_flops(run)

    assert hardware._measured_flops.cache_info()[:2] == (1, 2)  # known, measured
