"""How a module is stored, in few characters, and the colour of its mode."""

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.commands.report import FAINT

# A colour for each mode; shades of meaning beyond that are in the words.
MODE_STYLES = {"nvfp4": "green", "mxfp4": "cyan", "mxfp8": "blue", "affine": "yellow"}
_USUAL_GROUPS = {"affine": 64, "nvfp4": 16, "mxfp4": 32, "mxfp8": 32}


def mode_style(module: ModuleLayout) -> str:
    return MODE_STYLES.get(module.mode, FAINT)


def format_text(module: ModuleLayout) -> str:
    """Mode, bits and group: "nvfp4 4/16", "affine 6/64", "bf16"."""
    return module.mode if module.spec is None else f"{module.mode} {module.bits}/{module.group_size}"


def format_code(module: ModuleLayout) -> str:
    """ "affine6", "nvfp4", "bf16"; the group only where it is not the usual one of its mode."""
    if module.spec is None:
        return module.mode
    bits = str(module.bits) if module.mode == "affine" else ""
    group = "" if module.group_size == _USUAL_GROUPS.get(module.mode) else f"g{module.group_size}"
    return f"{module.mode}{bits}{group}"
