"""A user's own data modules, each with one classic fault."""

import torch

from lmexp import tokenizers
from lmexp.batch import IGNORE
from lmexp.data import TextDataModule
from lmexp.label_data import LabelDataModule
from lmexp.pair_data import PairDataModule
from lmexp.question_data import QuestionDataModule
from lmexp.segment_data import SegmentDataModule
from lmexp.sentence_data import SentenceDataModule
from lmexp.tag_data import TagDataModule


class Changed:
    """A mixin: batches of training are changed."""

    def train_dataloader(self):
        for step in super().train_dataloader():
            batches = [self.changed(batch) for batch in step.micro_batches]
            yield step._replace(micro_batches=batches)


class Unshifted(Changed, TextDataModule):
    def changed(self, batch):
        return batch._replace(labels=batch.input_ids.clone())


class ShiftedTwice(Changed, TextDataModule):
    def changed(self, batch):
        return batch._replace(labels=torch.roll(batch.labels, -1, dims=1))


class HalfIgnored(Changed, TextDataModule):
    def changed(self, batch):
        labels = batch.labels.clone()
        labels[:, ::2] = IGNORE
        return batch._replace(labels=labels)


class PairsUnshifted(Changed, PairDataModule):
    def changed(self, batch):
        return batch._replace(labels=batch.target_ids.masked_fill(batch.target_ids == 0, IGNORE))


class PaddingPredicted(Changed, PairDataModule):
    def changed(self, batch):
        return batch._replace(labels=batch.labels.masked_fill(batch.labels == IGNORE, 0))


class ShownIsAsked(Changed, SegmentDataModule):
    def changed(self, batch):
        is_real = batch.attention_mask & (batch.labels == IGNORE)
        return batch._replace(labels=torch.where(is_real, batch.input_ids, batch.labels))


class MasksAreAsked(Changed, SegmentDataModule):
    def changed(self, batch):
        labels = batch.labels.masked_fill(batch.labels != IGNORE, tokenizers.MASK_ID)
        return batch._replace(labels=labels)


class SentencesUnshifted(Changed, SentenceDataModule):
    def changed(self, batch):
        return batch._replace(target_ids=batch.input_ids.clone())


class TagsShifted(Changed, TagDataModule):
    def changed(self, batch):
        labels = torch.roll(batch.labels, 1, dims=1)
        return batch._replace(labels=labels.masked_fill(batch.firsts == 0, IGNORE))


class LastSubword(Changed, TagDataModule):
    def changed(self, batch):
        ends = torch.roll(batch.firsts, -1, dims=1)
        last = batch.attention_mask.sum(1, keepdim=True) - 1
        ends = torch.where(ends > batch.firsts, ends, last) - 1
        return batch._replace(firsts=torch.where(batch.firsts > 0, ends, 0))


class AnswersShifted(Changed, QuestionDataModule):
    def changed(self, batch):
        is_there = batch.answers > 1
        return batch._replace(answers=torch.where(is_there, batch.answers - 1, batch.answers))


class LabelsOfOthers(LabelDataModule):
    def make_reader(self, store):
        reader = super().make_reader(store)
        plain = reader.batch
        reader.batch = lambda rows: plain(rows)._replace(
            labels=torch.roll(plain(rows).labels, 1, dims=0)
        )
        return reader


class Lower(tokenizers.Bytes):
    def encode_many(self, texts):
        return super().encode_many([text.lower() for text in texts])


class LowerCased(TextDataModule):
    def prepare(self, *, fit=True, **how):
        self.tokenizer = Lower()
        super().prepare(fit=False, **how)


class AnotherTokenizer(TextDataModule):
    """Fitted anew after the text was tokenised: the same characters under other numbers."""

    def prepare(self, **how):
        super().prepare(**how)
        state = self.tokenizer.state()
        self.tokenizer = tokenizers.from_state(state | {"types": state["types"][::-1]})
