"""CLUENER2020: Chinese texts with entities, listed by type (Xu et al. 2020, arXiv:2001.04351)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.reading import OnInvalid
from lmexp.corpora.record_files import SPLIT_KEYS, Names, names_of_splits
from lmexp.corpora.rows import Row
from lmexp.corpora.spans import Span, SpanFiles, checked, field_of
from lmexp.corpora.splitting import Fractions


class Cluener(SpanFiles):
    """Records such as {"text": "…", "label": {"name": {"叶老桂": [[9, 11]]}}}; both ends count.

    Args:
        train: files of the training split, or of everything: names, globs, folders.
        val: of the validation split; None cuts val_fraction off `train`.
        test: of the test split; None cuts test_fraction off `train`.
        val_fraction: of the texts, by a hash of the text: equal ones fall into the same split.
        test_fraction: likewise.
        drop_seen: drop training texts that are in val or test too, with the same letters and
            digits, and count them.
        on_invalid: what to do with a text that is not UTF-8: error, replace or drop; both are
            counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    `tagged(split)` streams characters with tags; see lmexp.corpora for `splits`, `joins_words`,
    `counts`, `fingerprint()` and `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    _text_field = "text"

    def __init__(
        self,
        train: Names,
        val: Names | None,
        test: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        drop_seen: bool,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        names = names_of_splits(train, val, test, SPLIT_KEYS)
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(names, fractions, drop_seen, on_invalid, folder, download, root)

    def _spans(self, row: Row, text: str) -> list[Span]:
        label = field_of(row, "label")
        try:
            places = [
                (Span(int(start), int(last) + 1, str(type_)), marked)
                for type_, entities in label.items()
                for marked, own in entities.items()
                for start, last in own
            ]
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{row.where}: 'label' is {_short(label)}: write "
                '{"type": {"entity": [[first, last]]}} with numbers of characters from 0'
            ) from error
        return [checked(span, text, marked, row.where) for span, marked in places]


def _short(value: Any) -> str:
    return repr(value)[:60]
