"""Which model a conversation is from: one hash of everything that decides what its token ids mean and do.

Of config.json, every tensor's name, type, shape, place and file (from the headers), the tokenizer, the chat template
and a sample of the weights' bytes, reading all of which would take as long as loading them. The same files give the
same fingerprint wherever they lie; two fine-tunes of one shape differ.
"""

import hashlib
import json

from qwen_core.checkpoint.directory import MAX_TOKENIZER_BYTES, Checkpoint
from qwen_core.errors import CheckpointError, quote
from qwen_core.files import read_bytes

SAMPLES = 64
SAMPLE_BYTES = 64


def fingerprint(checkpoint: Checkpoint) -> str:
    """32 hexadecimal digits. Raises CheckpointError if the tokenizer, the template or the weights cannot be read."""
    digest = hashlib.sha256()
    parts = (_config, _tensors, _tokenizer, _template, _samples)
    for part in (of(checkpoint) for of in parts):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


def _config(checkpoint: Checkpoint) -> bytes:
    return json.dumps(dict(checkpoint.raw_config), sort_keys=True).encode()


def _tensors(checkpoint: Checkpoint) -> bytes:
    rows = [
        [name, info.dtype, list(info.shape), info.file.name, info.offset, info.nbytes]
        for name, info in sorted(checkpoint.tensors.items())
    ]
    return json.dumps(rows).encode()


def _tokenizer(checkpoint: Checkpoint) -> bytes:
    return b"" if checkpoint.tokenizer_path is None else read_bytes(checkpoint.tokenizer_path, MAX_TOKENIZER_BYTES)


def _template(checkpoint: Checkpoint) -> bytes:
    return (checkpoint.template_source() or "").encode("utf-8", "surrogatepass")


def _samples(checkpoint: Checkpoint) -> bytes:
    """Some 4 KB of each weight file, evenly spaced from its first bytes to its last."""
    found = []
    for shard in checkpoint.shards:
        try:
            last = max(0, shard.stat().st_size - SAMPLE_BYTES)
            with shard.open("rb") as file:
                for sample in range(SAMPLES):
                    file.seek(last * sample // (SAMPLES - 1))
                    found.append(file.read(SAMPLE_BYTES))
        except OSError as error:
            raise CheckpointError(f"{quote(shard)} cannot be read: {quote(error.strerror or error)}") from None
    return b"".join(found)
