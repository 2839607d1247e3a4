"""A pass that feeds drafts: what is remembered of it, so that it can end after any of its tokens.

Recurrent state cannot be cut like keys and values. So each linear layer keeps what its step took in and the state
before it; the tokens that count are replayed from them by the recurrence alone, and no weight is read again.
"""

from dataclasses import dataclass

from qwen_core.device.backend import mx
from qwen_core.model.gated_delta import Taken, inputs_before_next
from qwen_core.model.kernels.delta_rule import DeltaRule
from qwen_core.model.products import Products


@dataclass(eq=False)
class LinearLayerState:
    """convolution: the last K - 1 inputs [1, K - 1, C]; recurrent: S [1, Hv, Dv, Dk], float32."""

    convolution: mx.array
    recurrent: mx.array

    @property
    def nbytes(self) -> int:
        return self.convolution.nbytes + self.recurrent.nbytes


@dataclass(eq=False)
class LinearStep:
    """What one linear layer took in: `qkv_z`, whose first part are the inputs of the convolution [1, T, C], what `rule`
    took of the T tokens, and the state `before` them."""

    qkv_z: Products
    taken: Taken
    before: LinearLayerState
    rule: DeltaRule

    def after(self, tokens: int) -> LinearLayerState:
        """The layer's state after the first `tokens` of the pass, bit for bit that of feeding these alone on a CPU."""
        if tokens == 0:
            return self.before
        queries, keys, values, gate, beta = (part[:, :tokens] for part in self.taken)
        _, recurrent = self.rule(queries, keys, values, gate, beta, self.before.recurrent)
        return LinearLayerState(inputs_before_next(self.before.convolution, self.qkv_z.views[0], tokens), recurrent)


class DraftedPass:
    """One such pass, from `State.begin_drafted` until the next one begins. `kept` of its `fed` tokens count."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.fed = 0
        self.kept: int | None = None
        self._steps: dict[int, LinearStep] = {}
        self._settled: tuple[int, dict[int, LinearLayerState]] | None = None

    def take(self, layer: int, step: LinearStep) -> None:
        """Remember a layer's step."""
        self._steps[layer] = step

    def end(self, fed: int, linear: dict[int, LinearLayerState]) -> None:
        """The pass has fed `fed` tokens and left `linear`; all count until something else is said."""
        self.fed = self.kept = fed
        self._settled = (fed, linear)

    def linear(self) -> dict[int, LinearLayerState]:
        """The linear layers' states after the tokens that count."""
        assert self.kept is not None and self._settled is not None
        if self._settled[0] != self.kept:
            self._settled = (self.kept, {layer: step.after(self.kept) for layer, step in self._steps.items()})
        return self._settled[1]
