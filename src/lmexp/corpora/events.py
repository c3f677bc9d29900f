"""FewFC: financial events in Chinese sentences (Zhou et al. 2021, AAAI): triggers and arguments."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from lmexp.corpora.reading import OnInvalid
from lmexp.corpora.record_files import SPLIT_KEYS, names_of_splits
from lmexp.corpora.rows import Row
from lmexp.corpora.spans import Span, SpanFiles, checked, field_of
from lmexp.corpora.splitting import Fractions

TRIGGER = "trigger"  # the role of the word that tells the event


class FewFCEvents(SpanFiles):
    """Records such as {"content": "…", "events": [{"type": "质押", "mentions": [{"word": "质押",
    "span": [46, 48], "role": "trigger"}, …]}]}; a span's end is after its last character.

    One layer of tags: a trigger's type is that of its event with -trigger, an argument's is its
    role alone, such as sub-org. Where spans overlap, a trigger is kept before an argument, then the
    longer one, then the one of the earlier event.

    Args:
        part: base, five common types of events, or trans, five others with few sentences.
        train: file of the training split; {part} in it is filled in.
        test: of the test split, likewise.
        val_fraction: of the training sentences, by a hash of the text.
        drop_seen: drop training sentences that are in test too, with the same letters and digits,
            and count them.
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

    _text_field = "content"

    def __init__(
        self,
        part: Literal["base", "trans"],
        train: str,
        test: str,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        drop_seen: bool,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        files = [name.replace("{part}", part) for name in (train, test)]
        names = names_of_splits(files[0], None, files[1], SPLIT_KEYS)
        fractions = Fractions(val_fraction, 0.0)
        super().__init__(names, fractions, drop_seen, on_invalid, folder, download, root)

    def _spans(self, row: Row, text: str) -> list[Span]:
        found = []
        try:
            for event in field_of(row, "events"):
                for mention in event["mentions"]:
                    (start, end), role = mention["span"], mention["role"]
                    is_trigger = role == TRIGGER
                    type_ = f"{event['type']}-{TRIGGER}" if is_trigger else str(role)
                    found.append((Span(int(start), int(end), type_, is_trigger), mention["word"]))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'{row.where}: \'events\' is not [{{"type": "…", "mentions": [{{"word": "…", '
                f'"span": [start, end], "role": "…"}}]}}] ({error!r})'
            ) from error
        return [checked(span, text, word, row.where) for span, word in found]
