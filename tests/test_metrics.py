import math

import pytest

from lmexp.metrics import language_model_figures


def test_a_uniform_guess_over_256_bytes_costs_8_bits_a_byte():
    figures = language_model_figures(
        nll_sum=10 * math.log(256), tokens=10, correct=1, num_bytes=10, num_chars=5, unk=0
    )

    assert figures["loss"] == pytest.approx(math.log(256))
    assert figures["perplexity"] == pytest.approx(256)
    assert figures["bits_per_byte"] == pytest.approx(8)
    assert figures["bits_per_char"] == pytest.approx(16)
    assert figures["accuracy"] == 0.1
    assert figures["tokens"] == 10


def test_bits_are_of_the_text_and_perplexity_of_the_tokens():
    words = language_model_figures(60.0, tokens=6, correct=0, num_bytes=30, num_chars=30, unk=0)
    pieces = language_model_figures(60.0, tokens=12, correct=0, num_bytes=30, num_chars=30, unk=0)

    assert words["bits_per_byte"] == pieces["bits_per_byte"]
    assert words["perplexity"] == pytest.approx(pieces["perplexity"] ** 2)


def test_text_that_the_tokenizer_does_not_know_has_no_bits_per_byte():
    figures = language_model_figures(6.0, tokens=3, correct=0, num_bytes=9, num_chars=9, unk=1)

    assert "bits_per_byte" not in figures
    assert "bits_per_char" not in figures
    assert figures["loss"] == 2


def test_a_perplexity_beyond_a_float_is_infinite_and_no_error():
    figures = language_model_figures(1000.0, tokens=1, correct=0, num_bytes=1, num_chars=1, unk=0)

    assert figures["perplexity"] == math.inf
    assert figures["loss"] == 1000


def test_no_scored_token_is_refused():
    with pytest.raises(ValueError, match="0 tokens were scored"):
        language_model_figures(0.0, tokens=0, correct=0, num_bytes=0, num_chars=0, unk=0)
