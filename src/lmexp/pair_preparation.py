"""From a corpus of pairs to fitted tokenizers and token stores, each cached or built once."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from lmexp import tokenizers
from lmexp.cache import built, cache_folder
from lmexp.packing import EmptyTextError
from lmexp.pair_store import PAIR_FORMAT, Pair, PairFrame, PairStore, write_pair_store
from lmexp.preparation import Split, announced, content_hash, settings
from lmexp.tokenizers import PairTokenizer, Tokenizer, tag_name


class PairCorpus(Protocol):
    """What yields the pairs of a split."""

    @property
    def counts(self) -> Counter[str]:
        """Pairs dropped or changed by the last reading, by reason."""
        ...

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have pairs."""
        ...

    @property
    def source(self) -> str:
        """Where the files were found."""
        ...

    @property
    def languages(self) -> tuple[str | None, str | None]:
        """Codes of source and target, such as en and zh; None where they are not known."""
        ...

    @property
    def is_tokenised(self) -> bool:
        """The text is cut into words already: its scores compare with no other's."""
        ...

    def pairs(self, split: Split) -> Iterator[Any]:
        """The pairs, in order; see pair_store.Pair."""
        ...

    def fingerprint(self) -> str:
        """Hash of the files and of all settings that change the text."""
        ...


class PairCleaning(Protocol):
    """What changes or drops pairs; its repr names all its settings."""

    def clean(self, pairs: Iterator[Any], counts: Counter[str]) -> Iterator[Any]:
        """The pairs that stay; counts what does not, by reason."""
        ...


class PairPreparation:
    """Reads a corpus of pairs into the cache. Training pairs are cleaned; of validation and test
    every pair is scored as it stands.

    Args:
        corpus: what to read.
        cleaning: of the training split.
        max_length: tokens of a side: longer pairs are dropped in training, and cut elsewhere.
        announce: told what takes long, every ten seconds.
    """

    def __init__(
        self,
        corpus: PairCorpus,
        cleaning: PairCleaning,
        max_length: int,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.corpus, self.cleaning, self.max_length = corpus, cleaning, max_length
        self.data_hash = content_hash(PAIR_FORMAT, corpus.fingerprint(), repr(cleaning))
        self._announce = announce

    def tokenizer(
        self, unfitted: Tokenizer, *, is_joint: bool, language_tags: Sequence[str]
    ) -> PairTokenizer:
        """The tokenizers, fitted on the training split alone: one on both sides, or two.

        Args:
            unfitted: of the kind and size that is wanted.
            is_joint: one on both sides.
            language_tags: codes of the languages of which the sources' tokenizer reserves a tag;
                that of the targets' language will begin every source. Empty: none.
        """
        to = self.corpus.languages[1] if language_tags else None
        tagged = deepcopy(unfitted)
        tagged.reserve([tag_name(language) for language in language_tags])
        if is_joint:
            both = self._fitted(tagged, ("source", "target"))
            return PairTokenizer(both, both, to)
        source = self._fitted(tagged, ("source",))
        return PairTokenizer(source, self._fitted(deepcopy(unfitted), ("target",)), to)

    def _fitted(self, unfitted: Tokenizer, sides: tuple[str, ...]) -> Tokenizer:
        def texts() -> Iterator[str]:
            for pair in self._pairs("train", Counter()):
                yield from (getattr(pair, side) for side in sides)

        def write(folder: Path) -> None:
            unfitted.fit(texts)
            folder.mkdir(parents=True)
            tokenizers.save(unfitted, folder / "tokenizer.json")

        key = content_hash(self.data_hash, settings(unfitted), sides)
        folder = built(cache_folder() / "tokenizers" / key, write)
        fitted: Tokenizer = tokenizers.load(folder / "tokenizer.json")
        return fitted

    def store(self, split: Split, tokenizer: PairTokenizer) -> PairStore:
        """The tokens of a split.

        Raises:
            ValueError: the split has no pair.
        """
        is_training = split == "train"
        frame = PairFrame(
            tokenizers.EOS_ID,
            tokenizers.UNK_ID,
            self.max_length,
            drops_longer=is_training,
            keeps_texts=not is_training,
        )
        key = content_hash(self.data_hash, split, tokenizer.hash(), frame)

        def write(folder: Path) -> None:
            write_pair_store(folder, lambda drops: self._pairs(split, drops), tokenizer, frame)

        try:
            return PairStore(built(cache_folder() / "pairs" / key, write))
        except EmptyTextError as error:
            raise ValueError(
                f"the {split} split of {self.corpus.source} has no pair ({error}): give it some, "
                "or look at data.cleaning and data.max_length"
            ) from error

    def _pairs(self, split: Split, dropped: Counter[str]) -> Iterator[Pair]:
        pairs = self.corpus.pairs(split)
        if split == "train":
            pairs = self.cleaning.clean(pairs, dropped)
        yield from announced(pairs, f"preparing {split}", "pairs", self._announce)
        dropped.update(self.corpus.counts)


def check_tags(tags: Sequence[str], language: str | None) -> None:
    """The language of the targets has one of the tags, if there are any.

    Raises:
        ValueError: it has none, it is not known, or the tags are not each of one language.
    """
    written = f"data.language_tags=[{','.join(tags)}]"
    if "" in tags or len(set(tags)) < len(tags):
        raise ValueError(f"{written} has an empty code or one twice: write each language once")
    if tags and language is None:
        raise ValueError(
            f"{written}, and the data does not say which language its targets are in: also write "
            "data.pair=en-de or data.languages=[en,de], whichever the set takes"
        )
    if tags and language not in tags:
        raise ValueError(
            f"{written} has no tag of '{language}', which the targets are in: write "
            f"data.language_tags=[{','.join([*tags, str(language)])}]"
        )
