"""Subwords by the sentencepiece library (Kudo & Richardson 2018, arXiv:1808.06226).

Nothing is normalised: every text comes back as it was. The end of a line is a type of its own, and
characters without one are spelled in UTF-8 bytes, which are ordinary types.
"""

import base64
import heapq
import io
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.tokenizers.characters import all_bytes, count_chars
from lmexp.tokenizers.reserved import (
    NUM_BYTES,
    Spelling,
    Tokenizer,
    not_fitted,
    too_many,
)

_SPACE = "\u2581"  # sentencepiece's own sign for a space
_MARK = "\u2585"  # sentencepiece skips training lines with it; it names our reserved pieces
_COVERAGE = 0.9995  # of characters that get a type of their own; the library's default
_LINE_CHARS = 1000  # at most 4,000 bytes: sentencepiece drops training lines over 4,192 silently
_THREADS = 16  # a constant: the sums of unigram's EM depend on it in the last digits
_SEED = 0  # of the sample: one tokenizer for all seeds of a run

_UNLIKE_ITSELF = re.compile(f"([\0{_SPACE}])")  # characters that sentencepiece would change
# No piece may spell what the model names a byte or a reserved id, so training lines end there.
_LINE_END = re.compile(f"[\n\0{_SPACE}{_MARK}]|(?<=<)(?=0x[0-9A-F]{{2}}>)")


class SentencePiece(Tokenizer):
    """Byte-pair encoding (Sennrich et al. 2016) or a unigram model (Kudo 2018).

    Args:
        algorithm: bpe or unigram.
        vocab_size: ordinary types, the 256 bytes and the end of a line among them.
        sample_bytes: of the training split, drawn line by line, that it is fitted on.
        extra: names of further reserved ids.
    """

    learnt: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(
        self,
        algorithm: Literal["bpe", "unigram"],
        vocab_size: Annotated[int, Ge(258)],  # bytes, end of a line, one character
        sample_bytes: Annotated[int, Gt(0)],
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(extra)
        self.algorithm, self.sample_bytes = algorithm, sample_bytes
        self._asked = vocab_size
        self._model: bytes | None = None

    @property
    def num_types(self) -> int:
        """As asked for: bytes, end of a line, subwords."""
        return self._asked

    @property
    def is_lossless(self) -> bool:
        """Always."""
        return True

    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Learn the subwords from a sample of the text.

        Raises:
            ValueError: the text is empty, or too small for vocab_size.
        """
        import sentencepiece

        sample = draw(texts(), self.sample_bytes)
        lines = _TrainingLines(sample, (self._asked - NUM_BYTES - 1) // 2)
        if not any(lines):
            raise ValueError(
                "the training split has no text to fit the tokenizer on: look at data.corpus and "
                "data.cleaning, or write tokenizer=byte, which learns nothing"
            )
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=model, **self._options()
            )
        except RuntimeError as error:
            found = re.search(r"set it to a value <= (\d+)", str(error))
            if found is None:
                raise
            possible = int(found[1]) - len(self.reserved)
            raise too_many(self._asked, possible, f"{self.algorithm} types") from error
        self._take(model.getvalue())

    def _options(self) -> dict[str, Any]:
        pad, unk, bos, eos, *others = (_MARK + name for name in self.reserved)
        return {
            "model_type": self.algorithm,
            "vocab_size": self.vocab_size,
            "character_coverage": 1.0,  # of those that _TrainingLines leaves
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            "allow_whitespace_only_pieces": True,  # indentation
            "user_defined_symbols": ["\n"],
            "control_symbols": others,
            **dict(zip(("pad_id", "unk_id", "bos_id", "eos_id"), range(4), strict=True)),
            "pad_piece": pad,
            "unk_piece": unk,
            "bos_piece": bos,
            "eos_piece": eos,
            "num_threads": _THREADS,
            "minloglevel": 2,  # errors come as exceptions
        }

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """See Tokenizer."""
        super().restore(fitted)
        self._take(base64.b64decode(fitted["model"], validate=True))

    def _take(self, model: bytes) -> None:
        import sentencepiece

        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = self._processor.id_to_piece(list(range(self.vocab_size)))
        learnt = pieces[self._first_byte + NUM_BYTES :]
        spelled = (piece.replace(_SPACE, " ").encode() for piece in learnt)
        self._spelling = Spelling(len(self.reserved), [b"\n", *all_bytes(), *spelled])

    @property
    def _first_byte(self) -> int:
        return len(self.reserved) + 1  # after the end of a line

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of the subwords, by as many threads as there are cores."""
        if self._model is None:
            raise not_fitted(self)
        if any(map(_UNLIKE_ITSELF.search, texts)):
            return [self._encode_parts(text) for text in texts]
        return [np.array(ids, dtype=np.int32) for ids in self._processor.encode(list(texts))]

    def _encode_parts(self, text: str) -> NDArray[np.int32]:
        ids: list[int] = []
        for part in _UNLIKE_ITSELF.split(text):
            if _UNLIKE_ITSELF.match(part):
                ids += [self._first_byte + byte for byte in part.encode()]
            else:
                ids += self._processor.encode(part)
        return np.array(ids, dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text; see Tokenizer."""
        if self._model is None:
            raise not_fitted(self)
        return self._spelling.text(ids)

    def state(self) -> dict[str, Any]:
        """Class, arguments and sentencepiece's own model file."""
        if self._model is None:
            raise not_fitted(self)
        return {
            "class": "SentencePiece",
            "algorithm": self.algorithm,
            "vocab_size": self._asked,
            "sample_bytes": self.sample_bytes,
            "extra": self.extra,
            "model": base64.b64encode(self._model).decode(),
        }


def draw(texts: Iterable[str], sample_bytes: int) -> list[str]:
    """A uniform sample of at most sample_bytes UTF-8 bytes, in the order of the text.

    Each text draws a number; those with the lowest stay (reservoir sampling by keys, Efraimidis &
    Spirakis 2006). A text that is larger than the sample by itself is cut to it.
    """
    generator = random.Random(_SEED)
    kept: list[tuple[float, int, str, int]] = []  # a heap, the highest number first
    size = 0
    limit = 1.0
    for order, text in zip(count(), texts):
        key = generator.random()
        if key > limit:
            continue
        data = text.encode()
        if len(data) > sample_bytes:
            data = data[:sample_bytes]
            text = data.decode("utf-8", errors="ignore")
        heapq.heappush(kept, (-key, order, text, len(data)))
        size += len(data)
        while size > sample_bytes:
            key, _, _, length = heapq.heappop(kept)
            limit = -key
            size -= length
    return [text for _, text in sorted((order, text) for _, order, text, _ in kept)]


class _TrainingLines:
    """What sentencepiece is trained on: no line too long, no character too rare, none reserved.

    A line ends at a character that gets no type of its own. Those that get one are the most
    frequent, as many as make _COVERAGE of the text, but at most `room`: so Chinese, too, leaves
    half of the types to longer pieces.
    """

    def __init__(self, texts: Sequence[str], room: int) -> None:
        self._texts = texts
        counts = sorted(count_chars(texts).items(), key=lambda item: (-item[1], item[0]))
        covered = np.cumsum([number for _, number in counts])
        enough = int(np.searchsorted(covered, _COVERAGE * covered[-1])) + 1 if counts else 0
        self._rare = {ord(char): "\n" for char, _ in counts[min(enough, max(room, 1)) :]}

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            for line in _LINE_END.split(text.translate(self._rare)):
                for begin in range(0, len(line), _LINE_CHARS):
                    yield line[begin : begin + _LINE_CHARS]
