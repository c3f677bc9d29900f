"""What users of MovieLens liked, as pairs: the titles so far, and the next one."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt

from lmexp.corpora.pair_files import AnyPair, PairEntry, PairFiles
from lmexp.corpora.piece import Pair, Split
from lmexp.corpora.rows import Row, rows
from lmexp.corpora.splitting import Fractions

SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SHORT = "user who liked fewer than four films"


class MovieLens(PairFiles):
    """Films that users rated well, in the order of their ratings (Harper & Konstan 2015).

    Ratings of one second are in an order that tells nothing, that of a hash.

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
        for user, films in self._by_user().items():
            own = [film.title for film in sorted(films)]
            if len(own) < 4:
                yield PairEntry(user, (), _SHORT)
                continue
            places = {
                "train": range(1, len(own) - 2),
                "val": [len(own) - 2],
                "test": [len(own) - 1],
            }[split]
            yield PairEntry(user, tuple(self._pair(own, place) for place in places))

    def _by_user(self) -> dict[str, list["_Liked"]]:
        """The films that each user liked, as they stand in the file."""
        (ratings,), (movies,) = self._paths("train")
        titles = {
            row.value["movieId"]: row.value["title"] for row in _rows(movies, ("movieId", "title"))
        }
        liked: dict[str, list[_Liked]] = defaultdict(list)
        for row in _rows(ratings, ("userId", "movieId", "rating", "timestamp")):
            user, movie = row.value["userId"], row.value["movieId"]
            if movie not in titles:
                raise ValueError(
                    f"{row.where}: movieId {movie!r} is not in {movies}: take ratings and movies "
                    "of one release"
                )
            if _number(row, "rating") >= self._liked:
                drawn = hashlib.blake2b(f"{user} {movie}".encode(), digest_size=8).digest()
                liked[user].append(_Liked(_number(row, "timestamp"), drawn, titles[movie]))
        return liked

    def _pair(self, titles: list[str], place: int) -> Pair:
        before = titles[max(0, place - self._history) : place]
        return Pair(" | ".join(before), titles[place])


class _Liked(NamedTuple):
    """A film that a user liked; in the order of time."""

    seconds: float
    drawn: bytes  # decides where seconds are equal
    title: str


def _rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    for row in rows(path, "error"):
        if missing := [name for name in names if name not in row.value]:
            raise ValueError(
                f"{path} has no column {', '.join(missing)} but {', '.join(row.value)}: name the "
                "files of MovieLens in data.ratings and data.movies"
            )
        yield row


def _number(row: Row, name: str) -> float:
    try:
        return float(row.value[name])
    except ValueError as error:
        raise ValueError(
            f"{row.where}: {name} is {row.value[name]!r}, not a number: correct the file"
        ) from error
