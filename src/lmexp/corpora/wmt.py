"""The news translation tasks of the Conference on Machine Translation, by year and pair."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmexp.corpora import hub_pairs
from lmexp.corpora.layouts import Fitting, Layout, check_layouts, fitting
from lmexp.corpora.locate import Found
from lmexp.corpora.official_sets import check_official, official_files, official_pairs
from lmexp.corpora.pair_files import PairEntry, PairFiles, language_codes
from lmexp.corpora.parallel import aligned, check_lengths
from lmexp.corpora.piece import Split
from lmexp.corpora.reading import OnInvalid
from lmexp.corpora.splitting import Fractions

TASKS = {  # pairs of wmt/wmt14, … on the Hugging Face hub, each for both directions
    2014: ("cs-en", "de-en", "fr-en", "hi-en", "ru-en"),
    2015: ("cs-en", "de-en", "fi-en", "fr-en", "ru-en"),
    2016: ("cs-en", "de-en", "fi-en", "ro-en", "ru-en", "tr-en"),
    2017: ("cs-en", "de-en", "fi-en", "lv-en", "ru-en", "tr-en", "zh-en"),
    2018: ("cs-en", "de-en", "et-en", "fi-en", "kk-en", "ru-en", "tr-en", "zh-en"),
    2019: ("cs-en", "de-en", "fi-en", "fr-de", "gu-en", "kk-en", "lt-en", "ru-en", "zh-en"),
}
_USUAL_YEAR = 2014
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class WMT(PairFiles):
    """A year's training and validation pairs from the hub, and its test set from sacrebleu.

    Without root, the pairs are looked for in $LMEXP_DATA/wmt14 (wmt15, …) and in the cache, as the
    hub lays them out (de-en/train-00000-of-00003.parquet), and downloaded if need be with the
    checksums that the hub tells. The test set is where sacrebleu keeps it, raw, as its command
    scores it.

    With root, all is read from that folder and nothing is downloaded but a test set: the folder is
    a copy of the hub's (it has a folder such as de-en), or has all files of one of `layouts`.

    Args:
        year: of the task; None for 2014, or the newest that has the pair if 2014 has not.
        pair: codes of source and target language, such as en-de.
        test_set: sacrebleu's name of another test set, such as wmt20; None for that of the year,
            or of the layout.
        revision: of the set on the hub: a commit, branch or tag.
        layouts: by name, the first that fits is taken: files of train, val and test, each [SOURCE,
            TARGET] or by language, val and test perhaps with further references; {source},
            {target}, {year} and {last_year} are filled in. `tokenised`: the text was cut into
            tokens by whoever made the files, so that its BLEU compares with no other.
        on_invalid: what to do with a pair of text files that is not UTF-8: error, replace or drop;
            both are counted.
        root: data.root: a folder of the user's.

    `pairs(split)` streams; see lmexp.corpora for `splits`, `languages`, `counts`, `fingerprint()`
    and `source`.

    Raises:
        ValueError: there is no such year, pair or test set, or a layout is not whole.
    """

    def __init__(
        self,
        year: int | None,
        pair: str,
        test_set: str | None,
        revision: str,
        layouts: dict[str, Layout],
        on_invalid: OnInvalid,
        root: str | None = None,
    ) -> None:
        codes = language_codes(pair)
        self._pair, self._codes, self._year = pair, codes, year or _year_of(pair)
        self._folder_of_user = None if root is None else Path(root).expanduser()
        self._is_of_hub = self._folder_of_user is None or any(
            (self._folder_of_user / config).is_dir() for config in _directions(pair)
        )
        if self._is_of_hub:
            _check_task(self._year, pair)
            test_set = test_set or _official_name(self._year)
        if test_set is not None:
            check_official(test_set, pair)
        check_layouts(layouts)
        self._test_set, self._revision, self._layouts = test_set, revision, layouts
        self._fitting: Fitting | None = None
        names: dict[Split, list[str]] = {split: [split] for split in _SPLITS}
        super().__init__(names, Fractions(0.0, 0.0), on_invalid, codes, None, (), root)

    @property
    def is_tokenised(self) -> bool:
        """Whether whoever made the files cut their text into tokens."""
        self._files()
        return self._fitting is not None and self._fitting.is_tokenised

    def _settings(self) -> Any:
        return self._codes

    def _paths(self, split: Split) -> list[list[Path]]:
        return [self._files().paths[split]]

    def _read(self, split: Split) -> Iterator[PairEntry]:
        (paths,) = self._paths(split)
        if paths[0].suffix == ".parquet":
            return hub_pairs.parquet_entries(paths, *self._codes)
        return aligned(paths, self._on_invalid)

    def _files(self) -> Found:
        if self._found is None:
            found = self._of_hub() if self._is_of_hub else self._of_user()
            if self._test_set is not None:
                found.paths["test"] = official_files(self._test_set, self._pair)
                found = found._replace(source=f"{found.source}; {self._test_set} of sacrebleu")
            for paths in found.paths.values():
                if paths[0].suffix != ".parquet":
                    check_lengths(paths)
            self._found = found
        return self._found

    def _of_hub(self) -> Found:
        (config,) = (there for there in _directions(self._pair) if there in TASKS[self._year])
        repository = f"wmt/wmt{self._year % 100}"
        return hub_pairs.find(repository, config, self._revision, self._folder_of_user)

    def _of_user(self) -> Found:
        folder = self._folder_of_user or Path()
        wanted = [split for split in _SPLITS if split != "test" or self._test_set is None]
        self._fitting = fitting(self._layouts, folder, self._codes, self._year, wanted)
        return Found(dict(self._fitting.paths), f"data.root {folder} ({self._fitting.name})")


def _directions(pair: str) -> tuple[str, str]:
    source, target = language_codes(pair)
    return pair, f"{target}-{source}"


def _official_name(year: int) -> str:
    """sacrebleu's name of a year's test set; wmt14 alone lacks 266 of the 3,003 sentences."""
    return "wmt14/full" if year == 2014 else f"wmt{year % 100}"


def _pairs(year: int) -> list[str]:
    """Those that a year has in training and in its test set."""
    official = set(official_pairs(_official_name(year)))
    return sorted(official & {pair for there in TASKS[year] for pair in _directions(there)})


def _years(pair: str) -> list[int]:
    return [year for year in TASKS if pair in _pairs(year)]


def _year_of(pair: str) -> int:
    years = _years(pair)
    return _USUAL_YEAR if _USUAL_YEAR in years or not years else years[-1]


def _check_task(year: int, pair: str) -> None:
    """Raise ValueError if no year has the pair, or this one has not."""
    if year not in TASKS:
        raise ValueError(
            f"data.year={year}: there are training pairs of {', '.join(map(str, TASKS))}; write "
            "one of these years, or data.root=FOLDER for files of yours"
        )
    if not set(_directions(pair)) & set(TASKS[year]):
        years = _years(pair)
        other = f"write data.year={years[-1]}, which has it" if years else "write one of these"
        raise ValueError(
            f"data.pair={pair}: {year} has {', '.join(_pairs(year))}; {other}, or "
            "data.root=FOLDER for files of yours"
        )
