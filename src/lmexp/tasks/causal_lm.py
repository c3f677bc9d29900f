"""Autoregressive language modelling: P(x) = prod P(x_t given x_1 … x_{t-1}), maximum likelihood.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor, nn

from lmexp.batch import EvalBatch, TokenBatch, move
from lmexp.decoding.generate import generate
from lmexp.decoding.sampling import Sampling
from lmexp.losses import NllSum, projected_nll
from lmexp.metrics import language_model_figures
from lmexp.networks.interface import CarryingDecoder, Decoder, State, Vocab
from lmexp.ranks import Ranks
from lmexp.schedules import Schedule
from lmexp.scored_examples import ExampleSums
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.interface import Sample, Sums

SAMPLE_TEXTS = 3  # at most: a network that ends at once would write a hundred empty ones


class BuildsDecoder(Protocol):
    """An architecture that can be asked for a decoder."""

    def decoder(self, vocab: Vocab) -> Any:
        """A network that meets networks.interface.Decoder."""
        ...


class EvalSums(NamedTuple):
    """What an evaluation adds up."""

    nll: float  # nats
    tokens: int  # scored
    correct: int  # of them, those the network finds most probable

    def plus(self, batch: Tensor) -> "EvalSums":
        """With one more batch's (3,) sums; the totals are float64 and whole numbers."""
        nll, tokens, correct = batch.tolist()
        return EvalSums(self.nll + nll, self.tokens + int(tokens), self.correct + int(correct))

    def over(self, ranks: Ranks) -> "EvalSums":
        """The sums of all ranks."""
        nll, tokens, correct = ranks.total(*self)
        return EvalSums(nll, int(tokens), int(correct))


LIKELIHOOD: dict[str, tuple[str, ...]] = {  # figures, and what they are computed of
    "loss": ("ratio", "nats", "tokens"),
    "perplexity": ("perplexity", "nats", "tokens"),
    "bits_per_byte": ("bits_per_byte", "nats", "bytes"),
    "accuracy": ("ratio", "correct", "tokens"),
}


class ScoredText(Protocol):
    """Totals of a tokenised split (packing.TokenStore)."""

    num_bytes: int  # UTF-8 bytes of the cleaned text
    num_chars: int
    num_unk: int  # tokens that the tokenizer itself made <unk>


def add_tokens(sums: ExampleSums, examples: NDArray[np.int64], nll: NllSum) -> None:
    """Add a batch to the nats, tokens and correct ones of its examples.

    Args:
        sums: of all.
        examples: (N,) the example of each predicted token.
        nll: of the batch, with `each`.
    """
    assert nll.each is not None
    nats, correct = nll.each.cpu().double().numpy().T
    sums.add(examples, nats=nats, tokens=1.0, correct=correct)


class CausalLM(Task):
    """Next-token prediction with a decoder.

    Args:
        architecture: asked for its decoder.
        vocab: of the tokenizer.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        carries_state: the state of a recurrent network goes on from one step's windows to the
            next's (truncated back-propagation through time; Mikolov et al. 2010).
        document_mask: whether that state starts from zero where a document begins.
        label_smoothing: in [0, 1); in the training objective only, never in what is reported.
        clip_norm: see Task.
        ema_decay: see Task.
        sample_prompt: what samples during training begin with.
        sample_tokens: their length, over up to three texts; 0 for none.
    """

    network_kind = "decoder"
    keeps_examples = True
    example_sums = ("nats", "tokens", "correct")
    example_metrics = LIKELIHOOD

    def __init__(
        self,
        architecture: BuildsDecoder,
        vocab: Vocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        carries_state: bool = False,
        document_mask: bool = True,
        label_smoothing: Annotated[float, Ge(0), Lt(1)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
        sample_prompt: str,
        sample_tokens: Annotated[int, Ge(0)],
    ) -> None:
        network = architecture.decoder(vocab)
        if not isinstance(network, Decoder) or not isinstance(network, nn.Module):
            raise TypeError(
                f"{type(network).__name__}, which {type(architecture).__name__}.decoder() built, "
                "is no decoder: it needs hidden(), forward() and `output`, an nn.Linear to V"
            )
        bias: Tensor | None = network.output.bias
        if bias is not None:
            raise ValueError(
                f"the output layer of {type(network).__name__} has a bias, which the loss does not "
                "read: build it with nn.Linear(d_model, vocab.size, bias=False)"
            )
        if carries_state and not isinstance(network, CarryingDecoder):
            raise ValueError(
                f"data.lanes carries state from window to window, and {type(network).__name__} has "
                "none to carry: write data.lanes=null, or use model=rnn, lstm or gru"
            )
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.can_carry = isinstance(network, CarryingDecoder)
        self.vocab = vocab
        self.carries_state = carries_state
        self.document_mask = document_mask
        self.label_smoothing = label_smoothing
        self.sample_prompt = sample_prompt
        self.sample_tokens = sample_tokens

    @property
    def decoder(self) -> Any:
        """The network; nn.Module's own typing would take its methods for tensors."""
        return self.network

    def sums(self, batch: TokenBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the labels of one micro-batch; the state after it, detached."""
        hidden, state = self._hidden(batch, carried, self.carries_state)
        nll = self._nll(hidden, batch.labels, smoothing=self.label_smoothing)
        return Sums(nll.nll, nll.plain, nll.count), state

    def _nll(
        self, hidden: Tensor, labels: Tensor, *, smoothing: float = 0.0, counts_hits: bool = False
    ) -> NllSum:
        return projected_nll(
            hidden,
            self.decoder.output.weight,
            labels,
            smoothing=smoothing,
            counts_hits=counts_hits,
            keeps_each=counts_hits and self.examples is not None,
        )

    def _hidden(
        self, batch: TokenBatch, carried: State | None, carries: bool
    ) -> tuple[Tensor, State | None]:
        if not carries:
            hidden = self.decoder.hidden(batch.input_ids, batch.attention_mask, batch.document_ids)
            return hidden, None
        if carried is not None:
            carried = tuple(part.to(batch.input_ids.device) for part in carried)  # of a checkpoint
        if carried is not None and self.document_mask:
            goes_on = (batch.input_ids[:, 0] != self.vocab.bos_id)[:, None]  # (B, 1)
            carried = tuple(part * goes_on for part in carried)
        hidden, state = self.decoder.hidden_carried(batch.input_ids, carried, batch.document_ids)
        return hidden, tuple(part.detach() for part in state)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[EvalBatch]) -> EvalSums:
        """Sums over an evaluation loader: every label once, without smoothing, in float64."""
        total, carried = EvalSums(0.0, 0, 0), None
        for step in batches:
            nll, carried = self._scored(step, carried)
            total = total.plus(nll.scored())
        return total

    def _scored(self, step: EvalBatch, carried: State | None) -> tuple[NllSum, State | None]:
        batch = move(step.batch, self.device)
        if step.carries and not self.can_carry:
            raise ValueError(
                f"eval.carry=true carries state from window to window, and "
                f"{type(self.network).__name__} has none: write eval.carry=false"
            )
        hidden, state = self._hidden(batch, carried if step.carries else None, self.can_carry)
        return self._nll(hidden, batch.labels, counts_hits=True), state

    def wants_sample(self, data: Any) -> bool:
        """With task.sample_tokens."""
        return self.sample_tokens > 0

    def sample(self, data: Any) -> Sample:
        """What the network writes after sample_prompt: up to three texts, sample_tokens in all."""
        prompt = [self.vocab.bos_id, *data.tokenizer.encode(self.sample_prompt)]
        texts: list[str] = []
        left = self.sample_tokens
        while left > 0 and len(texts) < SAMPLE_TEXTS:
            ids = generate(
                self.decoder,
                [prompt],
                Sampling(temperature=0.8, top_p=0.95, max_new_tokens=left),
                eos_id=self.vocab.eos_id,
                pad_id=self.vocab.pad_id,
                first_row=len(texts),
            )[0]
            texts.append(data.tokenizer.decode([*prompt, *ids]))
            left -= len(ids) + 1  # the end of the text is a token too
        return Sample("\n\n".join(texts), {})

    def begin_validation(self) -> None:
        """With sums of nothing, and no state."""
        self._validation = EvalSums(0.0, 0, 0)
        self._carried_eval: State | None = None

    def validation_step(self, step: EvalBatch, batch_idx: int) -> None:
        """Add one batch to the sums of this validation."""
        nll, self._carried_eval = self._scored(step, self._carried_eval)
        self._validation = self._validation.plus(nll.scored())
        if self.examples is not None:
            add_tokens(self.by_example, self.examples.of_batch(batch_idx), nll)

    def validated(self, store: ScoredText) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        sums = self._validation.over(self.ranks)
        return language_model_figures(
            sums.nll,
            sums.tokens,
            sums.correct,
            store.num_bytes,
            store.num_chars,
            store.num_unk,
        )
