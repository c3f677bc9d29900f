"""Generation: `lmexp.decoding.generate` against Hugging Face `generate` with its cache.

Same network (GPT-2's options, 6 layers, width 384, 6 heads, vocabulary 8,000), greedy, 256 new
tokens after 32, batches of 1 and 16. The contenders take turns in one process; medians. Prints one
table of tokens a second with the ratio to Hugging Face in float32, and the time of a token at 512
tokens over that at 64: at most 2, where reading everything again would give 8. Exits with 1 if a
target is missed. bfloat16 is left out on a CPU without it.

    python benchmarks/generate_throughput.py
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from _measure import multiplies_bf16, why_not_bf16
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

from lmexp.decoding.generate import generate
from lmexp.decoding.prepacked import prepack
from lmexp.decoding.sampling import Sampling
from lmexp.networks.interface import Vocab
from lmexp.networks.transformer import Transformer
from lmexp.placement import find_device

VOCAB, D_MODEL, HEADS, LAYERS, POSITIONS = 8_000, 384, 6, 6, 1_024
PROMPT = 32  # tokens
TARGETS = {
    ("float32", 1): 1.15,
    ("float32", 16): 1.35,
    ("bfloat16", 1): 1.5,
    ("bfloat16", 16): 1.65,
}
GROWTH = 2.0  # of the time of a token, at most, from 64 tokens to 512


def ours(dtype: torch.dtype, device: torch.device) -> Any:
    """Our decoder with GPT-2's options."""
    architecture = Transformer(
        d_model=D_MODEL,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        num_layers=LAYERS,
        d_ff=4 * D_MODEL,
        dropout=0.0,
        positions="learned",
        norm="layer",
        norm_first=True,
        activation="gelu_tanh",
        bias=True,
        tied=True,
        shares_embeddings=True,
        max_length=POSITIONS,
    )
    vocab = Vocab(size=VOCAB, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
    network = architecture.decoder(vocab).to(device, dtype).eval()
    prepack(network)  # as `lmexp generate` does
    return network


def theirs(device: torch.device) -> Any:
    """Hugging Face's network of the same sizes, float32."""
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=POSITIONS,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        bos_token_id=None,
        eos_token_id=None,  # nothing ends a text
    )
    return GPT2LMHeadModel(config).to(device).eval()


def run_ours(network: Any, prompts: torch.Tensor, new_tokens: int, on_token: Any = None) -> int:
    """Greedy, without an end; the number of new tokens."""
    sampling = Sampling(temperature=0.0, max_new_tokens=new_tokens)
    rows = generate(network, prompts.tolist(), sampling, eos_id=-1, pad_id=0, on_token=on_token)
    return sum(map(len, rows))


def run_theirs(network: Any, prompts: torch.Tensor, new_tokens: int) -> int:
    """The same with Hugging Face."""
    out = network.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
        use_cache=True,
    )
    return int(out[:, prompts.shape[1] :].numel())


def compare(device: torch.device, new_tokens: int, rounds: int) -> dict[tuple[str, int], float]:
    """Tokens a second of each contender at each batch size, medians over interleaved rounds."""
    network, reference = ours(torch.float32, device), theirs(device)
    contenders: dict[str, Callable[[torch.Tensor, int], int]] = {
        "Hugging Face": lambda prompts, n: run_theirs(reference, prompts, n),
        "float32": lambda prompts, n: run_ours(network, prompts, n),
    }
    if multiplies_bf16(device.type):
        half = ours(torch.bfloat16, device)
        contenders["bfloat16"] = lambda prompts, n: run_ours(half, prompts, n)
    speeds: dict[tuple[str, int], list[float]] = {}
    for batch in (1, 16):
        prompts = torch.randint(7, VOCAB, (batch, PROMPT), device=device)
        for run in contenders.values():
            run(prompts, 8)  # warm up
        for _ in range(rounds):
            for name, run in contenders.items():
                started = time.perf_counter()
                count = run(prompts, new_tokens)
                seconds = time.perf_counter() - started
                speeds.setdefault((name, batch), []).append(count / seconds)
    return {key: statistics.median(values) for key, values in speeds.items()}


def step_seconds(network: Any, prompts: torch.Tensor, new_tokens: int) -> list[float]:
    """Seconds between one new token and the next."""
    times: list[float] = []
    run_ours(network, prompts, new_tokens, lambda *_: times.append(time.perf_counter()))
    return [after - before for before, after in pairwise(times)]


def growth(device: torch.device, rounds: int) -> tuple[float, float]:
    """Seconds a token around position 64 and around position 512, batch 1, float32."""
    network = ours(torch.float32, device)
    prompt = torch.randint(7, VOCAB, (1, PROMPT), device=device)
    early, late = [], []
    for _ in range(rounds):
        steps = step_seconds(network, prompt, 528 - PROMPT)
        early += steps[48 - PROMPT : 80 - PROMPT]
        late += steps[-32:]
    return statistics.median(early), statistics.median(late)


def main() -> int:
    """Prints the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = find_device(args.device)
    speeds = compare(device, args.new_tokens, args.rounds)
    title = (
        f"generated tokens/s, {args.new_tokens} new, {device}, {torch.get_num_threads()} threads"
    )
    table = Table("batch", "network", "tokens/s", "ratio", "target", title=title)
    are_met = []
    for (name, batch), speed in speeds.items():
        ratio = speed / speeds["Hugging Face", batch]
        target = TARGETS.get((name, batch))
        verdict = "" if target is None else f"{target} {'met' if ratio >= target else 'MISSED'}"
        are_met.append(target is None or ratio >= target)
        label = name if target is None else f"lmexp {name}"
        table.add_row(str(batch), label, f"{speed:,.0f}", f"{ratio:.2f}", verdict)
    for name, batch in (key for key in TARGETS if key not in speeds):
        reason = f"{TARGETS[name, batch]} {why_not_bf16(device.type)}"
        table.add_row(str(batch), f"lmexp {name}", "–", "", reason)
    early, late = growth(device, args.rounds)
    are_met.append(late / early <= GROWTH)
    table.add_section()
    verdict = f"at most {GROWTH} {'met' if are_met[-1] else 'MISSED'}"
    speed_text = f"{1 / early:,.0f} at 64, {1 / late:,.0f} at 512"
    table.add_row("1", "lmexp float32, time", speed_text, f"{late / early:.2f}", verdict)
    Console().print(table)
    return int(not all(are_met))


if __name__ == "__main__":
    sys.exit(main())
