"""Text by split. A corpus knows no tokens and imports nothing of lmexp outside this package.

A corpus of text has `pieces(split)`, which streams, and `is_stream`, true of one continuous text
without ends of documents; such a one has `take_documents()` too, after which it is none any more,
for tasks that need documents. A corpus of pairs has `pairs(split)`, which streams sources with the
targets, `languages`, the codes of both sides, such as ("en", "zh"), None where unknown, and
`is_tokenised`, true of text that is cut into words already.

A corpus with labels has one of `tagged(split)`, `labelled(split)` and `questions(split)`, which
stream what piece.py calls so; and `joins_words`, true of `tagged` words that stand without a space
between them, as Chinese characters do, or `has_pairs`, true of `labelled` texts that are two.

All have `splits`, those that there are; `counts`, what the last reading dropped or replaced, by
reason; `fingerprint()`, a hash of all that decides the text; `source`, where the text was found.
Constructors take `root`, the folder of data.root or None, from the code.
"""
