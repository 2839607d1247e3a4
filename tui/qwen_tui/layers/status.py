"""The bottom line of the inspector: the same figures as in the chat, and the inspector's own keys."""

from qwen_tui.widgets.status import Status


class InspectorStatus(Status):
    """What the engine does is the same wherever one looks from; the keys are not."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self._keys = keys

    def hints(self) -> list[str]:
        return list(self._keys)

    def offer(self, *keys: str) -> None:
        """Other keys from now on."""
        self._keys = keys
        self.refresh()
