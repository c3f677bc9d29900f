"""What all data modules of text have in common: a corpus, cleaned and tokenised into stores."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning
from torch.utils.data import DataLoader

from lmexp import tokenizers
from lmexp.networks.interface import Vocab
from lmexp.overlap import cached_overlap
from lmexp.packing import TokenStore
from lmexp.preparation import Cleaning, Corpus, Preparation, Split
from lmexp.tokenizers import Tokenizer

SPLITS: tuple[Split, ...] = ("train", "val", "test")
COUNTS = ("tokens", "documents", "lines", "bytes", "chars", "unk", "dropped")


class PreparedText(lightning.LightningDataModule):
    """Text as tokens on disk. A subclass says what is read of it.

    Args:
        corpus: of text.
        tokenizer: fitted by prepare on the training split.
        cleaning: applied to every split.
        root: where the corpus was looked for first.
    """

    pin_memory = False  # set it for a GPU: copies of pageable memory wait for work under way

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, cleaning: Cleaning, root: str | None
    ) -> None:
        super().__init__()
        self.corpus, self.cleaning, self.root = corpus, cleaning, root
        self.tokenizer = tokenizer
        self.data_hash = ""  # of the text as it is cleaned; known after prepare
        self.position = (0, 0)  # epoch and step in it where training begins
        self._stores: dict[Split, TokenStore] = {}

    def prepare(
        self,
        *,
        fit: bool = True,
        splits: Sequence[Split] = SPLITS,
        data_hash: str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """Fit the tokenizer and tokenise the splits, or find both in the cache.

        Args:
            fit: False keeps the tokenizer that was given (a checkpoint's).
            splits: those that will be read.
            data_hash: of the text that a run began with; None for a new run.
            announce: told what takes long, every ten seconds.

        Raises:
            ValueError: a split has no text, the training split too little for one step, or the text
                is another than data_hash says.
        """
        preparation = Preparation(self.corpus, self.cleaning, announce)
        self.data_hash = preparation.data_hash
        if data_hash not in (None, self.data_hash):
            raise ValueError(
                f"the text of {self.corpus.source} has changed since the run began: its hash is "
                f"{self.data_hash[:12]}…, and was {str(data_hash)[:12]}…; bring the old text back, "
                "or begin a new run without resume="
            )
        if fit:
            self.tokenizer = preparation.tokenizer(self.tokenizer)
        for split in splits:
            self._stores[split] = preparation.store(split, self.tokenizer)
        if "train" in splits:
            self.plan_training()

    def plan_training(self) -> None:
        """Plan the batches of the training split, which is there."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it reads")

    @property
    def vocab(self) -> Vocab:
        """What networks have to know of the tokenizer."""
        ids = tokenizers.PAD_ID, tokenizers.BOS_ID, tokenizers.EOS_ID, tokenizers.MASK_ID
        return Vocab(self.tokenizer.vocab_size, *ids)

    def store(self, split: Split) -> TokenStore:
        """The tokens of a prepared split."""
        return self._stores[split]

    def start_at(self, position: tuple[int, int]) -> None:
        """(epoch, step in it) where train_dataloader begins."""
        self.position = position

    def val_dataloader(self) -> DataLoader[Any]:
        """What is scored of the validation split."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """What is scored of the test split."""
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: Split) -> DataLoader[Any]:
        """What is scored of a prepared split."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it scores")

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        facts: dict[str, Any] = {
            "source": self.corpus.source,
            "data_hash": self.data_hash,
            "tokenizer_hash": self.tokenizer.hash(),
            "vocab_size": self.tokenizer.vocab_size,
        }
        for split, store in self._stores.items():
            facts[split] = {key: store.counts[key] for key in COUNTS}
            if split != "train" and "train" in self._stores:
                overlap = cached_overlap(store, self._stores["train"])
                facts[split]["lines_in_train"] = overlap.lines
                facts[split]["documents_in_train"] = overlap.documents
        return facts
