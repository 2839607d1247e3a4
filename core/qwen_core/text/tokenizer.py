"""`Tokenizer`: text to token ids and back, exactly as the model directory's tokenizer.json says.

Also decodes a stream of ids without ever splitting a character, and encodes text that must not become control tokens.
Knows nothing of conversations (chat_encoding.py) and gives ids no meaning (reasoning.py). `tokenizer_class` of
tokenizer_config.json is not read: the hub's files name a wrong one, tokenizer.json is the truth (FORMAT.md).
"""

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.errors import TextError, quote
from qwen_core.text.tokenizer_file import called, read_tokenizer


def byte_alphabet() -> dict[str, int]:
    """The 256 printable characters that byte-level BPE writes bytes with, and the byte each stands for.

    Source: GPT-2's `bytes_to_unicode`. Bytes that are printable in Latin-1 stand for themselves, the others follow
    from U+0100 on in order.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(own)]
    return {chr(byte): byte for byte in own} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = byte_alphabet()
_PIECE = 1 << 16
"""Characters of a text that is counted piece by piece: some 30 ms each."""


class Tokenizer:
    """The tokenizer of one model directory. Byte-level BPE only, which is what every Qwen model has.

    `size` is the highest id plus one: the embedding may have more rows, whose ids mean nothing. `special_tokens` are
    all added tokens, spelling to id, whether tokenizer.json flags them special or not: `<think>` is not flagged, and
    is as much a control token as `<|im_end|>`.
    """

    def __init__(self, path: Path) -> None:
        """Read tokenizer.json at `path`. Raises TextError, naming the file, if it is missing, damaged or too large."""
        self.path = path
        self._whole = read_tokenizer(path)
        self._ordinary = _without_added_tokens(self._whole)
        added = self._whole.get_added_tokens_decoder()
        self.special_tokens = {token.content: id for id, token in added.items()}
        self._control = {id: token.content for id, token in added.items()}
        self.size = max(self._whole.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._bytes: dict[int, bytes] = {}
        self._refuse_reachable(added)

    def _refuse_reachable(self, added: dict[int, AddedToken]) -> None:
        """Ordinary text must not be able to become a control token by plain merges."""
        for id, token in added.items():
            if token.special and id in self.encode_ordinary(token.content):
                raise TextError(
                    f"{quote(self.path)}: the control token {quote(token.content)} is also an ordinary word, so text "
                    "could not be told from control; take the model's own tokenizer.json"
                )

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; spellings of control tokens in it become those tokens. Nothing is added around it."""
        return self._encoding(self._whole, text).ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Token ids of `text` with every spelling of a control token taken as ordinary text."""
        return self._encoding(self._ordinary, text).ids

    def count_up_to(self, text: str, most: int, stop: Callable[[], bool]) -> int | None:
        """How many tokens ordinary `text` is, counted piece by piece until there are more than `most`: however long it
        is, one call is short. Exact for a text of one piece, a token or two too many for each further one. None where
        `stop` said so between two pieces.
        """
        count = 0
        for start in range(0, len(text), _PIECE):
            if start and stop():
                return None
            count += len(self.encode_ordinary(text[start : start + _PIECE]))
            if count > most:
                break
        return count

    def _encoding(self, tokenizer: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
        return called(self.path, lambda: tokenizer.encode(_well_formed(text), add_special_tokens=False))

    def cut_at_control(self, text: str) -> list[int | str]:
        """`text` as the runs of ordinary text and the control token ids that `encode` finds in it, in order."""
        text = _well_formed(text)
        encoding = self._encoding(self._whole, text)
        pieces: list[int | str] = []
        position = 0
        for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if id in self._control:
                pieces += [text[position:start], id]
                position = end
        pieces.append(text[position:])
        return [piece for piece in pieces if piece != ""]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`. Bytes that are not UTF-8 come out as U+FFFD, ids beyond the tokenizer as nothing."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def stream(self) -> "StreamDecoder":
        """A decoder that takes ids one by one; what it returns joins to `decode` of all of them."""
        return StreamDecoder(self)

    def token_bytes(self, id: int) -> bytes:
        """The bytes that token `id` writes, which may be part of a character; none for an id without a token."""
        known = self._bytes.get(id)
        if known is None:
            known = self._bytes[id] = self._spell(id) if 0 <= id < self.size else b""
        return known

    def _spell(self, id: int) -> bytes:
        if id in self._control:
            return self._control[id].encode()
        token = self._whole.id_to_token(id)
        if token is None:  # a hole between the ordinary ids and the added ones
            return b""
        values = [_BYTES.get(character) for character in token]
        spelled = [value for value in values if value is not None]
        # A token with a character outside the alphabet was put there as plain text.
        return bytes(spelled) if len(spelled) == len(values) else token.encode()

    def has_ids_of(self, other: "Tokenizer") -> bool:
        """Whether every token has the same id in both."""
        one, two = (each._whole.get_vocab(with_added_tokens=True) for each in (self, other))
        return one == two

    def token_to_id(self, token: str) -> int | None:
        """Id of the token written `token` in tokenizer.json (ordinary tokens in the byte alphabet), or None."""
        return self._whole.token_to_id(token)

    def id_to_token(self, id: int) -> str | None:
        """The token as tokenizer.json writes it, or None for an id without a token."""
        return self._whole.id_to_token(id) if 0 <= id < self.size else None


class StreamDecoder:
    """Ids in, text out, complete characters only. Joined, the pieces equal `Tokenizer.decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """Text that token `id` completes, maybe none."""
        return self._utf8.decode(self._tokenizer.token_bytes(id))

    @property
    def mid_character(self) -> bool:
        """Whether bytes of a character that is not complete yet are held back."""
        return bool(self._utf8.getstate()[0])

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became complete. Leaves the decoder as new."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The checkpoint's tokenizer. Raises TextError if there is none, it is damaged or it does not fit the model."""
    if checkpoint.tokenizer_path is None:
        raise TextError(
            f"{quote(checkpoint.path)} has no tokenizer.json: copy the one of the model it was made from into it"
        )
    tokenizer = Tokenizer(checkpoint.tokenizer_path)
    check_tokenizer_fits(tokenizer, checkpoint.config)
    return tokenizer


def check_tokenizer_fits(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """Raise TextError if the tokenizer has ids that the embedding has no row for."""
    if tokenizer.size > config.vocab_size:
        raise TextError(
            f"{quote(tokenizer.path)}: the tokenizer has ids up to {tokenizer.size - 1}, but the model's embedding has "
            f"{config.vocab_size} rows; take the tokenizer.json of this model"
        )


def _without_added_tokens(whole: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same model, normaliser and splitting without added tokens.

    The library's `encode_special_tokens` leaves out only tokens flagged special, which `<think>` and `<tool_call>`
    are not.
    """
    ordinary = tokenizers.Tokenizer(whole.model)
    if whole.normalizer is not None:
        ordinary.normalizer = whole.normalizer
    if whole.pre_tokenizer is not None:
        ordinary.pre_tokenizer = whole.pre_tokenizer
    return ordinary


def _well_formed(text: str) -> str:
    """`text` with lone surrogates, which have no UTF-8 form, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
