"""What drafts for one loaded model: which drafter a turn gets, and with how many tokens a pass.

The MTP layer comes into memory when it is first wanted. Where drafts can pay, on a GPU, the costs of passes are
measured once, and the number of drafts follows from them and from how drafts have fared.
"""

from collections.abc import Sequence
from functools import partial

from qwen_core.device.backend import is_gpu
from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.model.model import Model
from qwen_core.model.mtp import MtpLayer, load_mtp
from qwen_core.model.state import State
from qwen_core.protocol.events import DraftMode
from qwen_core.protocol.stats import DraftOff
from qwen_core.session.draft_costs import DraftCosts, draft_costs
from qwen_core.session.draft_count import best_count, shares
from qwen_core.session.drafting import (
    LONG_MATCH,
    DraftCounts,
    Drafter,
    Drafting,
    LongestFirst,
    LookupDrafter,
    MtpDrafter,
)
from qwen_core.session.lookup import LookupIndex

DEFAULT_DRAFTS = 3
"""Drafts a pass where a drafter is asked for and nothing was measured."""
PROBE_PASSES = 64
"""After so many passes without drafts one is tried again: text changes, and with it what drafts bring."""


def why_off(mode: DraftMode, count: int | None) -> DraftOff | None:
    """Why nobody drafts where that is so: on a CPU a pass costs what its rows cost, so `auto` is off there unless a
    number of drafts is asked for."""
    if mode == "off" or count == 0:
        return "setting"
    return "cpu" if mode == "auto" and count is None and not is_gpu() else None


class Drafters:
    """Belongs to the thread that loaded `model`."""

    def __init__(self, model: Model, cache_folder: str = "", fingerprint: str = "") -> None:
        self._model = model
        self._cache = (cache_folder, fingerprint)
        self._layer: MtpLayer | None = None
        self._problem = model.checkpoint.mtp_problem
        self._index = LookupIndex()
        self._costs: dict[bool, DraftCosts] = {}  # by whether the MTP layer drafts
        self._past: dict[str, DraftCounts] = {}  # by who drafted

    def drafting(
        self, mode: DraftMode, count: int | None, ids: Sequence[int], state: State, vocab_limit: int
    ) -> Drafting | None:
        """Who drafts in a turn over `state`, which holds `ids`; None where nobody does (`why_off`).

        `count`: so many drafts a pass; None: as many as pay. Raises SettingsError for a drafter that is not there.
        """
        if why_off(mode, count) is not None:
            return None
        if mode == "mtp" and self.mtp() is None:
            raise SettingsError(self._no_mtp())
        kind, drafter = self._drafter(mode, state, vocab_limit)
        if count is not None:
            chosen = count
            drafting = Drafting(kind, drafter, lambda _: chosen)
        elif is_gpu():
            drafting = Drafting(kind, drafter, partial(self._measured_count, kind))
        else:
            drafting = Drafting(kind, drafter, lambda _: DEFAULT_DRAFTS)
        drafter.begin(ids)
        return drafting

    @property
    def layer_bytes(self) -> int:
        """Bytes of the MTP layer's tensors; 0 while it is not in memory."""
        tensors = self._model.checkpoint.mtp
        return tensors.nbytes if self._layer is not None and tensors is not None else 0

    def refusal(self, mode: DraftMode) -> str:
        """One line about an MTP layer that is asked for and not there, or is there and cannot draft; "" for none."""
        if mode == "mtp" and self.mtp() is None:
            return self._no_mtp()
        return f"the MTP layer cannot draft: {self._problem}" if mode == "auto" and self._problem else ""

    def close(self) -> None:
        """Let go of the MTP layer."""
        self._layer = None

    def prepare(self, mode: DraftMode) -> None:
        """Do now, while the model is loaded, what the first turn in this mode would wait for."""
        if is_gpu() and mode != "off":
            if mode != "lookup":
                self.mtp()
            self._measured("lookup" if mode == "lookup" else "mtp")

    def ended(self, drafting: Drafting, state: State) -> None:
        """A turn over `state` has ended: its acceptance counts for the next one's number of drafts, and the MTP layer
        takes what waits for it, so that a snapshot holds it too.
        """
        self._past[drafting.kind] = self._past.get(drafting.kind, DraftCounts()).joined(drafting.counts)
        if self._layer is not None:
            self._layer.catch_up(state.mtp)

    def _drafter(self, mode: DraftMode, state: State, vocab_limit: int) -> tuple[str, Drafter]:
        if mode == "lookup" or self.mtp() is None:
            return "lookup", LookupDrafter(self._index, waits=not is_gpu())
        tensors = self._model.checkpoint.mtp
        assert self._layer is not None and tensors is not None
        a_draft = tensors.draft_bytes(self._model.config) + self._model.checkpoint.head_bytes
        mtp = MtpDrafter(self._layer, state, vocab_limit, a_draft)
        if mode == "mtp":
            return "mtp", mtp
        return "mtp+lookup", LongestFirst(mtp, LookupDrafter(self._index, LONG_MATCH, waits=not is_gpu()))

    def mtp(self) -> MtpLayer | None:
        """The MTP layer, read into memory the first time; None where there is none that works."""
        tensors = self._model.checkpoint.mtp
        if self._layer is None and tensors is not None and not self._problem:
            try:
                self._layer = load_mtp(self._model, tensors)
            except QwenError as error:
                self._problem = str(error)
        return self._layer

    def _no_mtp(self) -> str:
        if self._problem:
            return f"the MTP layer cannot draft: {self._problem}"
        where = quote(self._model.checkpoint.path)
        return (
            f"{where} has no MTP layer to draft with: add that of the original checkpoint SRC with qwen-tui convert "
            f"--add-mtp SRC {where}, or draft by lookup"
        )

    def _measured_count(self, kind: str, counts: DraftCounts) -> int:
        costs, known = self._measured(kind), self._past.get(kind, DraftCounts()).joined(counts)
        count = best_count(costs.passes, costs.draft, shares(known.drafted_by_depth, known.accepted_by_depth))
        return count or (1 if counts.passes % PROBE_PASSES == PROBE_PASSES - 1 else 0)

    def _measured(self, kind: str) -> DraftCosts:
        layer = None if kind == "lookup" else self._layer
        if (layer is not None) not in self._costs:
            self._costs[layer is not None] = draft_costs(self._model, layer, *self._cache)
        return self._costs[layer is not None]
