"""A user's own networks, of which each but the sound one has one classic fault."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lmexp.networks.transformer import Transformer

NETWORK_FAULTS = {  # fault -> the checks that it fails
    "looks ahead": {"causality"},
    "shifts": {"causality", "document borders"},
    "mixes rows": {"batch mates"},
    "mixes rows always": {"batch mates"},
    "has a spare layer": {"gradients"},
    "detaches": {"gradients"},
    "is drawn large": {"initial loss"},
    "whispers": {"eight examples"},
    "is never quiet": {"evaluation"},
    "hides a layer": {"save and load"},
    "divides by zero": {"empty row"},
    "crosses borders": {"document borders"},
    "scales forward": {"one network"},
    "breaks on padding": {"padding", "empty row", "padding in the loss"},
}
STEP_FAULTS = ("forgets", "reads padding", "keeps rows")  # all of incremental decoding
OF_STEPS = {"sound", *STEP_FAULTS}


class Own(nn.Module):
    """One layer of attention over tokens and positions."""

    def __init__(self, vocab, width, fault, is_causal):
        super().__init__()
        self.fault, self.d_model, self.is_causal = fault, width, is_causal
        self.embed = nn.Embedding(vocab.size, width)
        self.places = nn.Embedding(64, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mix = nn.Sequential(up, nn.GELU(), down)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.output = nn.Linear(width, vocab.size, bias=False)
        self.output.weight = self.embed.weight
        if fault != "is drawn large":
            nn.init.normal_(self.embed.weight, std=0.02)
        if fault == "has a spare layer":
            self.spare = nn.Linear(width, width)
        if fault == "mixes rows":
            self.batch_norm = nn.BatchNorm1d(width)
        if fault == "hides a layer":
            self.hidden_layers = [nn.Linear(width, width)]

    def hidden(self, input_ids, attention_mask=None, document_ids=None):
        mask = torch.ones_like(input_ids) > 0 if attention_mask is None else attention_mask
        documents = torch.zeros_like(input_ids) if document_ids is None else document_ids
        if self.fault == "crosses borders":
            documents = torch.zeros_like(input_ids)
        if self.fault == "breaks on padding" and not mask.all():
            raise RuntimeError("padding is not supported")
        is_same = documents[:, :, None] == documents[:, None]
        places = (is_same & mask[:, None]).long().tril(-1).sum(-1)  # from the document's start
        may_see = is_same & mask[:, None]
        if self.fault == "ignores the mask":
            may_see = is_same
        if self.is_causal and self.fault != "looks ahead":
            may_see = may_see & torch.ones_like(may_see).tril()
        ids = F.pad(input_ids, (1, 0))[:, :-1] if self.fault == "shifts" else input_ids
        x = self.embed(ids) + 0.02 * self.places(places)
        normed = self.norms[0](x)
        bias = torch.where(may_see, 0.0, -1e9)
        scores = self.query(normed) @ self.key(normed).transpose(1, 2) / self.d_model**0.5
        x = x + (scores + bias).softmax(-1) @ self.value(normed)
        mixed = self.mix(self.norms[1](x))
        x = x + (mixed.detach() if self.fault == "detaches" else mixed)
        if self.fault == "mixes rows always":
            x = x + x.mean(0)
        if self.fault == "mixes rows":
            x = x + self.batch_norm(x.transpose(1, 2)).transpose(1, 2)
        if self.fault == "hides a layer":
            x = x + self.hidden_layers[0](x)
        if self.fault == "is never quiet":
            x = F.dropout(x, 0.1)
        if self.fault == "divides by zero":
            count = mask.sum(1)[:, None, None]
            x = x * (count / count)
        return self.norms[2](x) * (1e-4 if self.fault == "whispers" else 1)

    def forward(self, input_ids, attention_mask=None, document_ids=None):
        logits = self.output(self.hidden(input_ids, attention_mask, document_ids))
        return 2 * logits if self.fault == "scales forward" else logits


class OwnWithSteps(Own):
    """The state is all tokens so far, and which of them are real."""

    def start(self, memory=None):
        return None

    def step(self, ids, state, attention_mask=None):
        mask = torch.ones_like(ids) > 0 if attention_mask is None else attention_mask
        if self.fault == "reads padding":
            mask = torch.ones_like(ids) > 0
        if state is not None and self.fault != "forgets":
            ids, mask = (torch.cat(pair, dim=1) for pair in zip(state, (ids, mask), strict=True))
        last = mask.long().cumsum(1).argmax(1)
        hidden = self.hidden(ids, mask)
        return self.output(hidden[torch.arange(len(ids)), last]), (ids, mask)

    def reorder(self, state, rows):
        if self.fault == "keeps rows":
            rows = rows.sort().values
        return tuple(part[rows] for part in state)


class OwnEncoder(Own):
    def forward(self, input_ids, attention_mask=None, segment_ids=None, features=None):
        return self.hidden(input_ids, attention_mask)


@dataclass(frozen=True)
class OwnSizes:
    width: int
    fault: str

    def decoder(self, vocab):
        kind = OwnWithSteps if self.fault in OF_STEPS else Own
        return kind(vocab, self.width, self.fault, True)

    def encoder(self, vocab):
        encoder = OwnEncoder(vocab, self.width, self.fault, False)
        del encoder.output  # the embedding is all that heads share
        return encoder


class Peeks:
    """A mixin of encoder-decoders: the first token of a target sees the second."""

    def hidden(self, source_ids, source_mask, target_ids):
        hidden = super().hidden(source_ids, source_mask, target_ids)
        first = hidden[:, :1] + self.output.weight[target_ids[:, 1:2]]
        return torch.cat([first, hidden[:, 1:]], dim=1)


@dataclass(frozen=True)
class PeekingPairs(Transformer):
    def encoder_decoder(self, source_vocab, target_vocab):
        network = super().encoder_decoder(source_vocab, target_vocab)
        network.__class__ = type("Peeking", (Peeks, type(network)), {})
        return network
