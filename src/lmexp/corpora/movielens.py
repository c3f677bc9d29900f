"""What users of MovieLens liked, as pairs: the titles so far, and the next one."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt

from lmexp.corpora.pair_files import AnyPair, PairEntry, PairFiles
from lmexp.corpora.piece import Pair, Split
from lmexp.corpora.reading import opened
from lmexp.corpora.splitting import Fractions

SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SHORT = "user who liked fewer than four films"


class MovieLens(PairFiles):
    """Films that users rated well, in the order of their ratings (Harper & Konstan 2015).

    A pair has the titles of the films that a user liked before, the newest last, and the next
    one. The last film of each user is of the test split, the one before of the validation split,
    and all earlier ones but the first of the training split (leave one out, as in He et al. 2017,
    section 4.1).

    Args:
        ratings: .csv with userId, movieId, rating and timestamp.
        movies: .csv with movieId and title.
        liked: ratings from this one on.
        history: titles of a source, at most.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    Raises:
        ValueError: a file is not what it has to be.
    """

    def __init__(
        self,
        ratings: str,
        movies: str,
        liked: Annotated[float, Gt(0)],
        history: Annotated[int, Ge(1)],
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        names: dict[Split, list[str]] = {"train": [ratings, movies]}
        super().__init__(names, Fractions(0.0, 0.0), "error", ("en", "en"), folder, download, root)
        self._liked, self._history = liked, history

    @property
    def splits(self) -> tuple[Split, ...]:
        """All three."""
        return SPLITS

    def _settings(self) -> Any:
        return [self._liked, self._history]

    def pairs(self, split: Split) -> Iterator[AnyPair]:
        """See corpora: streams the pairs of a split, user by user."""
        self.counts.clear()
        for entry in self._read(split):
            if entry.flaw is not None:
                self.counts[entry.flaw] += 1
            yield from entry.items

    def _read(self, split: Split) -> Iterator[PairEntry]:
        (ratings,), (movies,) = self._paths("train")
        titles = {row["movieId"]: row["title"] for row in _rows(movies, ("movieId", "title"))}
        liked: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for row in _rows(ratings, ("userId", "movieId", "rating", "timestamp")):
            if float(row["rating"]) >= self._liked:
                liked[row["userId"]].append((int(row["timestamp"]), titles[row["movieId"]]))
        for user, films in liked.items():
            own = [title for _, title in sorted(films)]
            if len(own) < 4:
                yield PairEntry(user, (), _SHORT)
                continue
            places = {
                "train": range(1, len(own) - 2),
                "val": [len(own) - 2],
                "test": [len(own) - 1],
            }[split]
            yield PairEntry(user, tuple(self._pair(own, place) for place in places))

    def _pair(self, titles: list[str], place: int) -> Pair:
        before = titles[max(0, place - self._history) : place]
        return Pair(" | ".join(before), titles[place])


def _rows(path: Path, names: Sequence[str]) -> Iterator[dict[str, str]]:
    with opened(path) as file:
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        missing = [name for name in names if name not in (rows.fieldnames or ())]
        if missing:
            there = ", ".join(rows.fieldnames or ()) or "nothing"
            raise ValueError(
                f"{path} has no column {', '.join(missing)} but {there}: name the files of "
                "MovieLens in data.ratings and data.movies"
            )
        yield from rows
