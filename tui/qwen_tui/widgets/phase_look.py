"""How each phase of the engine looks: a glyph, a word and a colour, so that it reads without colour as well."""

from dataclasses import dataclass

from qwen_tui.conversation.conversation import Phase


@dataclass(frozen=True)
class PhaseLook:
    glyph: str
    word: str
    style: str


PHASES: dict[Phase, PhaseLook] = {
    "starting": PhaseLook("○", "starting", "$muted"),
    "loading": PhaseLook("◐", "loading", "$accent"),
    "ready": PhaseLook("●", "ready", "$success"),
    "waiting": PhaseLook("◌", "waiting", "$accent"),
    "prefill": PhaseLook("▸", "prefill", "$accent"),
    "reasoning": PhaseLook("◆", "reasoning", "$accent"),
    "decoding": PhaseLook("●", "decoding", "$accent"),
    "stopping": PhaseLook("◇", "stopping", "$warning"),
    "stopped": PhaseLook("■", "stopped", "$warning"),
    "no model": PhaseLook("✕", "no model", "$error"),
    "engine down": PhaseLook("✕", "engine down", "$error"),
}
