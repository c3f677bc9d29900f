"""Outputs of systems that were never trained: references with words changed, dropped and swapped,
more of them in hard sentences than in easy ones.
"""

import numpy as np


def references(number, seed=0):
    """Sentences of 5 to 24 words from a Zipf vocabulary."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["".join(rng.choice(list("aeioklmnrst"), 2 + i % 7)) for i in range(400)])
    shares = 1 / np.arange(1, 401)
    return [
        " ".join(rng.choice(vocabulary, rng.integers(5, 25), p=shares / shares.sum())) + "."
        for _ in range(number)
    ]


def outputs(sentences, rate, seed):
    """What a system with this rate of errors makes of the references."""
    difficulty = np.random.default_rng(99).uniform(0, 2, len(sentences))  # the same for all
    rng = np.random.default_rng(seed)
    made = []
    for sentence, hard in zip(sentences, difficulty, strict=True):
        words = []
        for word in sentence.split():
            kind = rng.random() / (rate * hard + 1e-9)
            if kind > 1:
                words.append(word)
            elif kind > 0.3:
                words.append(word[::-1] + "x")
            elif kind > 0.15:
                words.insert(max(len(words) - 1, 0), word)
        made.append(" ".join(words))
    return made


def statistics(metric, made, sentences):
    """(N, C) sacrebleu's own statistics of every segment."""
    return np.array(metric._extract_corpus_statistics(made, [sentences]), np.float64)
