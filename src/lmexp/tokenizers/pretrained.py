"""The tokenizer of a pretrained model, by the `tokenizers` library, with our reserved ids."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lmexp.tokenizers.reserved import SPECIALS, UNK_ID, Tokenizer, check_id, not_fitted

_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
# What serves as each of our reserved ids: BERT's [CLS] begins a text and its [SEP] ends one.
_SERVES = (
    *(("pad",), ("unk",), ("bos", "cls"), ("eos", "sep"), ("mask",)),
    *(("cls", "bos"), ("sep", "eos")),
)


class Pretrained(Tokenizer):
    """A vocabulary that exists, renumbered: our seven reserved ids first, the rest in its order.

    Nothing is fitted. What spells a reserved token in a text is text: "[SEP]" never becomes the id
    that ends a text.

    Args:
        path: of the model that it came with, for the record.
        extra: has to be empty: there is no row for further reserved ids in the embedding.
    """

    learnt: ClassVar[tuple[str, ...]] = ("json", "specials")

    def __init__(self, path: str, extra: Sequence[str] = ()) -> None:
        super().__init__(extra)
        self.path = path
        self._json: str | None = None
        self._refuse_extra()

    def _refuse_extra(self) -> None:
        if self.extra:
            raise ValueError(
                f"the vocabulary of {self.path} is a pretrained model's, which has no "
                f"{', '.join(self.extra)}: leave these names out (data.language_tags=[])"
            )

    def reserve(self, names: Sequence[str]) -> None:
        """See Tokenizer; none can be reserved."""
        super().reserve(names)
        self._refuse_extra()

    @classmethod
    def read(cls, folder: Path, path: str, begins_target: int | None = None) -> "Pretrained":
        """The tokenizer of a model's folder.

        Args:
            folder: with tokenizer.json, or with what the Transformers library makes it from.
            path: as the user named the model.
            begins_target: their id that an encoder-decoder's target begins with.

        Raises:
            ValueError: there is none, or it is not of the `tokenizers` library.
        """
        from transformers import AutoTokenizer

        if not any(file for pattern in _FILES for file in folder.glob(pattern)):
            raise ValueError(
                f"model.path={path}: no tokenizer in it: put a tokenizer.json beside config.json"
            )
        try:
            theirs = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"model.path={path}: its tokenizer cannot be read ({reason}): put a tokenizer.json "
                "beside config.json"
            ) from None
        if not theirs.is_fast:
            raise ValueError(
                f"model.path={path}: {type(theirs).__name__} is not of the tokenizers library: put "
                "a tokenizer.json beside config.json"
            )
        named = {name: getattr(theirs, f"{name}_token_id") for roles in _SERVES for name in roles}
        if begins_target is not None:
            named["bos"] = begins_target
        specials = [
            next((named[name] for name in roles if named[name] is not None), None)
            for roles in _SERVES
        ]
        tokenizer = cls(path)
        tokenizer.restore({"json": theirs.backend_tokenizer.to_str(), "specials": specials})
        return tokenizer

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """See Tokenizer."""
        import tokenizers

        super().restore(fitted)
        self._json, self._specials = fitted["json"], list(fitted["specials"])
        self._model = tokenizers.Tokenizer.from_str(self._json)
        self._model.no_truncation()
        self._model.no_padding()
        self._model.encode_special_tokens = True  # what spells one is text
        self._mark = _mark(json.loads(fitted["json"]))
        known = self._model.get_vocab(with_added_tokens=True)
        others = sorted(set(known.values()) - set(self._specials))
        self.rows: list[int | None] = [*self._specials, *others]
        self._ours = np.full(max(known.values()) + 1, UNK_ID, dtype=np.int32)
        self._ours[others] = np.arange(len(SPECIALS), len(self.rows))

    @property
    def num_types(self) -> int:
        """Ordinary types: what the model knows besides reserved tokens."""
        return 0 if self._json is None else len(self.rows) - len(SPECIALS)

    @property
    def is_lossless(self) -> bool:
        """Never: it may fold cases, accents and spaces."""
        return False

    @property
    def missing(self) -> list[str]:
        """The reserved ids that the model has no token for."""
        return [name for name, row in zip(SPECIALS, self._specials, strict=True) if row is None]

    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Refuse: it comes with the weights."""
        raise not_fitted(self)

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of the sub-words, by as many threads as there are cores."""
        if self._json is None:
            raise not_fitted(self)
        found = self._model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._ours[np.array(one.ids, dtype=np.int64)] for one in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text; see Tokenizer."""
        if self._json is None:
            raise not_fitted(self)
        checked = (check_id(int(number), self.vocab_size) for number in ids)
        kept = [self.rows[n] for n in checked if n >= len(SPECIALS) or n == UNK_ID]
        text: str = self._model.decode(
            [row for row in kept if row is not None], skip_special_tokens=False
        )
        return text

    def state(self) -> dict[str, Any]:
        """Class, path, the library's own description and the tokens that serve as ours."""
        if self._json is None:
            raise not_fitted(self)
        return {
            "class": "Pretrained",
            "path": self.path,
            "extra": self.extra,
            "json": self._json,
            "specials": self._specials,
        }

    @property
    def keeps_spaces(self) -> bool:
        """Whether a token brings the space before it along, as of byte-level BPE."""
        return self._json is not None and self._mark in ("Ġ", "▁")

    def begins_word(self) -> NDArray[np.bool_]:
        """(V,) whether a word begins with a token; reserved ids are words."""
        if self._json is None:
            raise not_fitted(self)
        mark, spaced = self._mark, self.keeps_spaces
        begins = np.ones(self.vocab_size, dtype=np.bool_)
        for number, row in enumerate(self.rows):
            if number < len(SPECIALS) or row is None:
                continue
            token = str(self._model.id_to_token(row))
            if spaced:
                begins[number] = token.startswith((mark, "Ċ"))
            elif mark:
                begins[number] = not token.startswith(mark)
        return begins


def _mark(content: Mapping[str, Any]) -> str:
    """What distinguishes the tokens that begin a word, or, of WordPiece, those that do not."""
    model = content.get("model") or {}
    if model.get("type") == "WordPiece":
        return str(model.get("continuing_subword_prefix", "##"))
    around = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    return "Ġ" if '"ByteLevel"' in around else "▁" if '"Metaspace"' in around else ""
