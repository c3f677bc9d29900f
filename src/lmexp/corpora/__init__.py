"""Text by split. A corpus knows no tokens and imports nothing of lmexp outside this package.

A corpus has `pieces(split)`, which streams; `is_stream`, true of one continuous text without ends
of documents; `counts`, lines dropped or replaced by the last reading, by reason; `fingerprint()`, a
hash of all that decides the text; `source`, where the text was found. Its constructor takes `root`,
the folder of data.root or None, from the code.
"""
