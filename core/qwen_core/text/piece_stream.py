"""`PieceStream`: the token ids of an answer in, ordered (part, text) pieces out."""

from qwen_core.protocol.pieces import Piece
from qwen_core.text.reasoning import Splitter
from qwen_core.text.tokenizer import Tokenizer


class PieceStream:
    """The incremental decoder and the splitter in one. Without a tokenizer there is no text, and no reasoning."""

    def __init__(self, tokenizer: Tokenizer | None, in_reasoning: bool = False) -> None:
        """`in_reasoning`: whether the prompt ended with an open `<think>`."""
        self.reasoning_tokens = 0
        self._decoder = tokenizer.stream() if tokenizer else None
        self._splitter = Splitter(tokenizer, in_reasoning) if tokenizer else None

    def push(self, token: int) -> list[Piece]:
        """What `token` says: none, one piece, or one before a change of part and one after it."""
        if self._decoder is None or self._splitter is None:
            return []
        self.reasoning_tokens += self._splitter.in_reasoning
        return self._splitter.push(token, self._decoder.push(token))

    def flush(self) -> list[Piece]:
        """What is left at the end."""
        if self._decoder is None or self._splitter is None:
            return []
        return [*self._splitter.push_text(self._decoder.flush()), *self._splitter.flush()]

    @property
    def mid_character(self) -> bool:
        """Whether the last token ended inside a character."""
        return self._decoder is not None and self._decoder.mid_character

    @property
    def reasoning_is_open(self) -> bool:
        """Whether the stream ended (so far) inside a reasoning block."""
        return self._splitter is not None and self._splitter.in_reasoning

    @property
    def late_reasoning(self) -> int:
        """See `Splitter.late_reasoning`."""
        return 0 if self._splitter is None else self._splitter.late_reasoning
