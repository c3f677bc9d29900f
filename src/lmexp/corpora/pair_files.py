"""Corpora of pairs in files."""

from collections.abc import Iterator, Mapping, Sequence

from lmexp.corpora.piece import Pair, PairWithTests, Split
from lmexp.corpora.reading import OnInvalid
from lmexp.corpora.record_files import Entry, RecordFiles
from lmexp.corpora.splitting import Fractions

PAIR_KEYS = {"train": "data.files", "val": "data.val_files", "test": "data.test_files"}
Languages = tuple[str | None, str | None]
AnyPair = Pair | PairWithTests
PairEntry = Entry[AnyPair]


class PairFiles(RecordFiles[AnyPair]):
    """Pairs in files, with an official split or cut by a hash of their content.

    Args:
        names: see RecordFiles.
        fractions: likewise.
        on_invalid: likewise.
        languages: codes of source and target.
        folder: see RecordFiles.
        download: likewise.
        root: likewise.

    Raises:
        ValueError: there is nothing to read, or arguments do not go together.
    """

    _things = "pairs"

    def __init__(
        self,
        names: Mapping[Split, Sequence[str]],
        fractions: Fractions,
        on_invalid: OnInvalid,
        languages: Languages | None,
        folder: str | None,
        download: Sequence[Mapping[str, str]],
        root: str | None,
    ) -> None:
        super().__init__(names, fractions, on_invalid, folder, download, root)
        self.languages: Languages = languages or (None, None)

    @property
    def is_tokenised(self) -> bool:
        """Whether whoever made the files cut their text into tokens: no BLEU compares with it."""
        return False

    def pairs(self, split: Split) -> Iterator[AnyPair]:
        """The pairs of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is empty, damaged, not UTF-8, or not what the arguments say.
        """
        return self._items(split)


def language_codes(pair: str) -> tuple[str, str]:
    """Source and target of data.pair, such as "en-de".

    Raises:
        ValueError: it is not two codes with a hyphen between.
    """
    codes = pair.split("-")
    if len(codes) != 2 or not all(codes):
        raise ValueError(
            f"data.pair={pair} is not two language codes with a hyphen between: write en-de, or "
            "pt_BR-en where a code has parts"
        )
    return codes[0], codes[1]
