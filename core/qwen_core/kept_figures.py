"""Figures that were measured once, kept in a small file for its owner. Missing or damaged, they are measured anew."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen_core.errors import QwenError
from qwen_core.files import json_text, read_json_object, write_private

MAX_BYTES = 1 << 20


class KeptFigures:
    """What is kept in `folder` under `name`; "" as the folder keeps nothing."""

    def __init__(self, folder: str, name: str) -> None:
        self._file = Path(folder) / name if folder else None

    def get(self, key: str) -> Any:
        """What was kept for `key`; None where nothing can be read."""
        return self._all().get(key)

    def keep(self, key: str, value: Any) -> None:
        """Keep `value`, which JSON can hold; nothing happens where it cannot be written."""
        if self._file is not None:
            with suppress(OSError):
                write_private(self._file, json_text({**self._all(), key: value}).encode())

    def _all(self) -> dict[str, Any]:
        try:
            return read_json_object(self._file, MAX_BYTES) if self._file is not None else {}
        except QwenError:
            return {}
