"""Tiny models of the Transformers library, randomly initialised and saved as a folder each."""

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lmexp.build import vocab_of
from lmexp.networks.pretrained import Pretrained
from lmexp.starting import put_in, start_of

WORDS = ["the", "import", "statement", "bind", "name", "scope", "of", "in", "a", "module", ",", "."]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODER = {**SMALL, "intermediate_size": 32, "max_position_embeddings": 40}
DECODER = {**ENCODER, "num_key_value_heads": 2}
BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
SIZES: dict[str, dict[str, Any]] = {
    "albert": {**ENCODER, "embedding_size": 8},
    "bert": ENCODER,
    "camembert": ENCODER,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    | {"max_position_embeddings": 40},
    "electra": {**ENCODER, "embedding_size": 16},
    "ernie": ENCODER,
    "modernbert": {**ENCODER, "local_attention": 8},
    "roberta": {**ENCODER, "type_vocab_size": 1},
    "xlm-roberta": {**ENCODER, "type_vocab_size": 1},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40},
    "gpt_neox": ENCODER,
    "llama": DECODER,
    "mistral": DECODER,
    "olmo2": DECODER,
    "opt": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32}
    | {"max_position_embeddings": 40, "word_embed_proj_dim": 16},
    "qwen2": DECODER,
    "qwen3": {**DECODER, "head_dim": 8},
    "bart": BART,
    "marian": {**BART, "scale_embedding": True},
    "mbart": {**BART, "scale_embedding": True},
    "mt5": T5,
    "pegasus": BART,
    "t5": T5,
}
HEADS = {
    "bert": "BertForPreTraining",
    "distilbert": "DistilBertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
}


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's kind, upper case folded; its special tokens do not come first."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    types = ["[PAD]", "unused", *LETTERS, *specials[1:], *(f"##{c}" for c in LETTERS), *WORDS]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(types))}
    model = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    model.normalizer = normalizers.BertNormalizer()
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    model.decoder = decoders.WordPiece()
    ends = [(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
    model.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    model.enable_truncation(5)  # as some folders have it
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=model, **dict(zip(names, specials, strict=True))
    )


def byte_pairs(*, has_pad: bool) -> PreTrainedTokenizerFast:
    """GPT-2's kind, with one special token; or RoBERTa's."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"] if has_pad else []
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = ["th", "Ġt", "Ġth", "Ġthe"]
    last = ["<mask>"] if has_pad else ["<|endoftext|>"]
    vocab = {t: n for n, t in enumerate([*specials, *alphabet, *merged, *last])}
    merges = [("t", "h"), ("Ġ", "t"), ("Ġ", "th"), ("Ġth", "e")]
    model = tokenizers.Tokenizer(models.BPE(vocab, merges))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    named: dict[str, str] = dict.fromkeys(("bos_token", "eos_token", "unk_token"), last[0])
    if has_pad:
        named = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
        named |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=model, **named)


def tokenizer_of(model_type: str) -> PreTrainedTokenizerFast:
    """As such models have it, more or less."""
    if model_type in ("albert", "bert", "distilbert", "electra", "ernie"):
        return word_pieces()
    return byte_pairs(has_pad=model_type not in ("gpt2", "gpt_neox", "llama", "mistral", "qwen2"))


def save_tiny(folder: Path, model_type: str, **changed: Any) -> Any:
    """Save a tiny model; the library's object, in evaluation mode."""
    tokenizer = tokenizer_of(model_type)
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")
    }
    if model_type in ("bart", "marian", "mbart", "mt5", "pegasus", "t5"):
        ids["decoder_start_token_id"] = ids["pad_token_id"]
    kind = transformers.CONFIG_MAPPING[model_type]
    sizes = {**SIZES[model_type], "vocab_size": len(tokenizer) + 3, **changed}  # three unused rows
    if model_type == "marian":
        sizes["decoder_vocab_size"] = sizes["vocab_size"]
    config = kind(**ids, **sizes)
    torch.manual_seed(0)
    if model_type in HEADS:
        model = getattr(transformers, HEADS[model_type])(config)
    elif ids.get("decoder_start_token_id") is not None:
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    elif model_type in SIZES and list(SIZES).index(model_type) >= list(SIZES).index("gpt2"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    else:
        model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains too, and no small values
            parameter.add_(0.2 * torch.randn_like(parameter))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()  # sinusoids are not saved


class Holder:
    """What put_in asks of a task."""

    average = vocab = None

    def __init__(self, network: Any) -> None:
        self.network = network


def begun(folder: Path, kind: str) -> tuple[Any, Any]:
    """The network of a folder with its weights, and its tokenizer."""
    section = {"_target_": "lmexp.networks.pretrained.Pretrained", "path": str(folder)}
    start = start_of({"init_from": None, "model": section | {"config": None}})
    vocab = vocab_of(start.tokenizer)
    vocabs = (vocab, vocab) if kind == "encoder_decoder" else (vocab,)
    torch.manual_seed(1)
    network = getattr(Pretrained(str(folder), None), kind)(*vocabs)
    report = put_in(Holder(network), start)
    assert report[1].startswith("new: nothing;")
    return network.eval(), start.tokenizer
