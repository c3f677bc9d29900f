"""Text to text: P(target given source), by maximum likelihood (Sutskever et al. 2014).

Shapes: B pairs, S source tokens, T target tokens, D model width, V vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import nn

from lmexp.batch import IGNORE, PairBatch
from lmexp.decoding.beam import Beam, Hypothesis
from lmexp.decoding.translate import translate
from lmexp.execution import SIGNATURE, passed
from lmexp.losses import NllSum, projected_nll
from lmexp.metrics import language_model_figures
from lmexp.networks.interface import EncoderDecoder, PairVocab, State, Vocab
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.causal_lm import LIKELIHOOD, EvalSums, ScoredText, add_tokens
from lmexp.tasks.interface import Interrupted, Sample, Sums
from lmexp.text_scores import ROUGE, text_scores

SHOWN_PAIRS = 5  # of a sample
NOT_OF_SAMPLES = ("chrf", "ter")  # TER of long texts takes longer than to put them out
OF_OUTPUTS: dict[
    str, tuple[str, ...]
] = {  # figures, and what they are computed of, each of statistics of its own
    **{name: (name, name) for name in ("bleu", "chrf", "ter")},
    **{name: ("mean", name) for name in (*ROUGE, "exact_match", "pass_at_1")},
}


class BuildsEncoderDecoder(Protocol):
    """An architecture that can be asked for an encoder-decoder."""

    def encoder_decoder(self, source_vocab: Vocab, target_vocab: Vocab) -> Any:
        """A network that meets networks.interface.EncoderDecoder."""
        ...


class Interruptible:
    """An encoder-decoder whose steps end in Interrupted once that is asked for."""

    def __init__(self, network: Any, is_asked: Callable[[], bool]) -> None:
        self._network, self._is_asked = network, is_asked

    def step(self, *arguments: Any) -> Any:
        """The network's."""
        if self._is_asked():
            raise Interrupted
        return self._network.step(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class TextToText(Task):
    """Each token of a target from its source and the target tokens before it.

    Args:
        architecture: asked for its encoder-decoder.
        vocab: of both tokenizers; one object twice if they are one.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        label_smoothing: in [0, 1); in the training objective only, never in what is reported.
            0.1 in Vaswani et al. 2017, section 5.4.
        clip_norm: see Task.
        ema_decay: see Task.
    """

    network_kind = "encoder_decoder"
    text_kind = "pairs"
    keeps_examples = True
    example_sums = ("nats", "tokens", "correct")
    example_metrics = LIKELIHOOD | OF_OUTPUTS

    def __init__(
        self,
        architecture: BuildsEncoderDecoder,
        vocab: PairVocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        label_smoothing: Annotated[float, Ge(0), Lt(1)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        network = architecture.encoder_decoder(vocab.source, vocab.target)
        if not isinstance(network, EncoderDecoder) or not isinstance(network, nn.Module):
            raise TypeError(
                f"{type(network).__name__}, which {type(architecture).__name__}.encoder_decoder() "
                "built, is no encoder-decoder: it needs hidden(), encode(), start(), step(), "
                "reorder() and `output`, an nn.Linear to V"
            )
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab = vocab
        self.label_smoothing = label_smoothing
        self._of_outputs: dict[str, NDArray[np.float64]] = {}  # statistics of those scored last

    @property
    def encoder_decoder(self) -> Any:
        """The network; nn.Module's own typing would take its methods for tensors."""
        return self.network

    def sums(self, batch: PairBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the labels of one micro-batch; nothing is carried."""
        nll = self._nll(batch, smoothing=self.label_smoothing)
        return Sums(nll.nll, nll.plain, nll.count), None

    def _nll(
        self, batch: PairBatch, *, smoothing: float = 0.0, counts_hits: bool = False
    ) -> NllSum:
        hidden = self.encoder_decoder.hidden(batch.source_ids, batch.source_mask, batch.target_ids)
        output = self.encoder_decoder.output
        return projected_nll(
            hidden,
            output.weight,
            batch.labels,
            bias=output.bias,
            smoothing=smoothing,
            counts_hits=counts_hits,
            keeps_each=counts_hits and self.examples is not None,
        )

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_pairs."""
        return bool(data.evaluation.sample_pairs > 0)

    def sample(self, data: Any) -> Sample:
        """Greedy outputs for the first pairs of the validation split, and their scores."""
        count, store = data.evaluation.sample_pairs, data.store("val")
        outputs = self.outputs(
            data, "val", range(min(count, store.num_pairs)), data.evaluation.greedy
        )
        texts = store.texts()[: len(outputs)]
        wanted = [name for name in data.evaluation.metrics if name not in NOT_OF_SAMPLES]
        references = [own[1:] for own in texts]
        scored = text_scores(outputs, references, data.corpus.languages[1], wanted)
        shown = [
            f"source     {own[0]}\nreference  {own[1]}\noutput     {output}"
            for own, output in zip(texts[:SHOWN_PAIRS], outputs, strict=False)
        ]
        return Sample("\n\n".join(shown), scored.figures)

    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """Scores of what beam search finds for every pair of the split."""
        rows = range(data.store(split).num_pairs)
        outputs = self.outputs(data, split, rows, data.evaluation.beam)
        figures, self._of_outputs = scores_of(outputs, data, split)
        return figures

    def scored(self, data: Any, split: str, outputs: Sequence[str]) -> dict[str, float | str]:
        """See scores_of."""
        return scores_of(outputs, data, split)[0]

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """Statistics of what beam search has found for each pair."""
        return self._of_outputs

    def outputs(self, data: Any, split: str, rows: Iterable[int], beam: Beam) -> list[str]:
        """The best text for each of some pairs of a split, which the ranks share.

        Raises:
            Interrupted: a rank has got a signal.
        """
        store = data.store(split)
        sources = [store.source_ids(row) for row in rows]
        was_training = self.network.training
        self.network.eval()
        mine: list[list[Hypothesis]] = []
        with contextlib.suppress(Interrupted):  # the others have to know of it first
            mine = translate(
                Interruptible(self.encoder_decoder, self.ballot.is_asked),
                sources,
                beam,
                batch_tokens=data.evaluation.batch_tokens,
                share=(self.ranks.number, self.ranks.world_size),
            )
        self.network.train(was_training)
        self.vote()
        if self.ballot.signal is not None:
            raise Interrupted
        texts = [data.tokenizer.target.decode(found[0].ids) if found else None for found in mine]
        everyone = self.ranks.gathered(texts)
        return [
            next(text for text in same if text is not None) for same in zip(*everyone, strict=True)
        ]

    def begin_validation(self) -> None:
        """With sums of nothing."""
        self._validation = EvalSums(0.0, 0, 0)

    @torch.no_grad()
    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Add one batch to the sums of this validation, without smoothing."""
        nll = self._plain_nll(batch)
        self._validation = self._validation.plus(nll.scored())
        if self.examples is not None:
            tokens = (batch.labels != IGNORE).sum(dim=1).cpu().numpy()
            pairs = self.examples.of_batch(batch_idx)
            tokens = tokens[: len(pairs)]  # a batch without a pair has one of nothing
            add_tokens(self.by_example, np.repeat(pairs, tokens), nll)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[PairBatch]) -> EvalSums:
        """Sums over an evaluation loader: every label once, without smoothing, in float64."""
        total = EvalSums(0.0, 0, 0)
        for batch in batches:
            total = total.plus(self._plain_nll(batch).scored())
        return total

    def _plain_nll(self, batch: PairBatch) -> NllSum:
        batch = PairBatch(*(part.to(self.device) for part in batch))
        return self._nll(batch, counts_hits=True)

    def validated(self, store: ScoredText) -> dict[str, float]:
        """Figures of the validation or test that has just ended, of the targets; of all ranks."""
        sums = self._validation.over(self.ranks)
        return language_model_figures(
            sums.nll,
            sums.tokens,
            sums.correct,
            store.num_bytes,
            store.num_chars,
            store.num_unk,
        )


def scores_of(
    outputs: Sequence[str], data: Any, split: str
) -> tuple[dict[str, float | str], dict[str, NDArray[np.float64]]]:
    """The figures that the evaluation asks for, of outputs for a split, and signatures.

    Returns:
        Both; and what figures are computed of, by output (TextScores.segments).
    """
    store, evaluation = data.store(split), data.evaluation
    references = [own[1:] for own in store.texts()]
    scored = text_scores(outputs, references, data.corpus.languages[1], evaluation.metrics)
    figures: dict[str, float | str] = {**scored.figures}
    mark = ", of tokenised text" if data.corpus.is_tokenised else ""
    figures |= {f"{name}_signature": text + mark for name, text in scored.signatures.items()}
    segments = dict(scored.segments)
    if evaluation.execute:
        own = segments["pass_at_1"] = 100 * np.array(passed(outputs, store.tests()), np.float64)
        figures["pass_at_1"] = sum(own.tolist()) / len(own)
        figures["pass_at_1_signature"] = SIGNATURE
    return figures, segments
