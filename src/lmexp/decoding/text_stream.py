"""Text out of tokens as they come: only whole characters, nothing past a stop string."""

from collections.abc import Callable, Iterable, Sequence

CONTEXT = 8  # ids decoded again before the new ones: how a piece is written depends on its left
WINDOW = 32  # ids after which the context moves on, so that a token costs the same at any length
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what decoders write for bytes that are no character
INCOMPLETE = 3  # bytes of a UTF-8 character that can lack the rest


class TextStream:
    """Turns ids into text one by one.

    Text that a later token can still change is held back: the bytes of an incomplete character,
    and a beginning of a stop string. Joined, the pieces are the text that decoding everything at
    once gives, cut before the first stop string.

    Args:
        decode: ids -> text, of the tokenizer.
        prompt: ids before the first one; their text is not given out again.
        stop: strings that end the text.
    """

    def __init__(
        self,
        decode: Callable[[Iterable[int]], str],
        prompt: Sequence[int] = (),
        stop: Sequence[str] = (),
    ) -> None:
        self.decode = decode
        self.stop = tuple(stop)
        self.is_stopped = False
        self._ids = list(prompt[-CONTEXT:])
        self._settled = len(decode(self._ids))  # characters of decode(_ids) already passed on
        self._held = ""  # whole characters that may begin a stop string

    def push(self, token_id: int) -> str:
        """The text that is certain after one more token; often one piece, sometimes nothing."""
        self._ids.append(token_id)
        text = self.decode(self._ids)
        broken = len(text) - len(text.rstrip(REPLACEMENT))
        certain = len(text) - min(broken, INCOMPLETE)
        new = text[self._settled : certain]
        self._settled = max(self._settled, certain)
        if not broken and len(self._ids) > WINDOW:
            self._ids = self._ids[-CONTEXT:]
            self._settled = len(self.decode(self._ids))
        return self._before_stop(new)

    def finish(self) -> str:
        """What was held back, once no token follows."""
        if self.is_stopped:
            return ""
        rest = self._before_stop(self.decode(self._ids)[self._settled :])
        rest, self._held = rest + self._held, ""
        return rest

    def _before_stop(self, new: str) -> str:
        """The part of held-back and new text that comes before a stop string or a start of one."""
        if not self.stop:
            return new
        if self.is_stopped:
            return ""
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self.stop) if at >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        keep = max(_overlap(text, stop) for stop in self.stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper beginning of `stop` that `text` ends with."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
