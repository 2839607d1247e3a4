"""What a benchmark does once it is known what is wanted: a model or the variants, measured, to a report."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from qwen_core.bench.drafts import PassCosts
from qwen_core.bench.measure import Bench, DraftChoice
from qwen_core.bench.measured import Measured, MeasuredCard, extrapolated, extrapolated_costs
from qwen_core.bench.report import BenchDrafts, BenchSubject, bench_report
from qwen_core.bench.request import BenchRequest, Progress, Stop, machine_facts, versions
from qwen_core.bench.synthetic import synthetic_checkpoint, synthetic_model, synthetic_mtp
from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.bench.variant_table import CARD_SHAPE, variant_rows
from qwen_core.bench.workloads import check_context, spread
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.locate import model_name
from qwen_core.checkpoint.recipe import Variant
from qwen_core.checkpoint.variants import variant_name
from qwen_core.device.backend import default_dtype, describe_device
from qwen_core.errors import CapacityError, SettingsError
from qwen_core.model.kernels.proof import Kernels
from qwen_core.model.model import Model, load_model
from qwen_core.model.weights import LoadCancelled
from qwen_core.protocol.events import LoadProgress
from qwen_core.session.drafters import Drafters, why_off
from qwen_core.session.opening import load_session


@dataclass(frozen=True)
class _Findings:
    """What was measured of one model."""

    subject: BenchSubject
    sizes: list[Measured]
    card: MeasuredCard | None = None
    drafts: BenchDrafts | None = None


def measure_model(request: BenchRequest, stop: Stop, progress: Progress) -> dict[str, Any]:
    """Measure the model of the request, loaded or synthetic."""
    machine = request.machine()
    bench = _bench(request, stop, progress)
    found = _loaded(request, bench) if request.shape is None else _synthetic(request, request.variant, bench)
    return bench_report(
        found.subject,
        machine,
        versions(),
        found.sizes,
        found.card,
        repeat=request.repeat,
        drafts=found.drafts,
        interrupted=stop(),
    )


def _bench(request: BenchRequest, stop: Stop, progress: Progress) -> Bench:
    return Bench(repeat=request.repeat, cooldown=request.cooldown, stop=stop, progress=progress)


def _loaded(request: BenchRequest, bench: Bench) -> _Findings:
    checkpoint = request.checkpoint()
    wants_card = any(workload.kind == "card" for workload in request.workloads)
    # What drafts need is made ready below, for the drafter that was asked for and not the one of the settings.
    settings = replace(request.load, draft="off")

    def loading(step: LoadProgress) -> None:
        bench.progress("loading", step.done_bytes, step.total_bytes)

    with ExitStack() as stack:
        session = None
        if wants_card:
            session = stack.enter_context(
                load_session(checkpoint.path, dtype=request.dtype, settings=settings, progress=loading, stop=bench.stop)
            )
            loaded, drafters = session.model, session.loaded.drafters
        else:
            loaded = load_model(
                checkpoint, request.dtype, progress=loading, stop=bench.stop, kernels=request.load.kernels
            )
            stack.callback(loaded.close)
            drafters = Drafters(loaded)
        choice, drafts = _drafts(request, bench, loaded, drafters)
        card = bench.card(session, choice) if session is not None else None
        # Not even the warm-up after a stop: on a large model that takes seconds.
        sizes = [] if bench.stop() else bench.sizes(loaded, request.workloads, request.depth, choice)
        return _Findings(_subject(checkpoint, loaded.dtype, loaded.kernels), sizes, card, drafts)


def _drafts(
    request: BenchRequest, bench: Bench, model: Model, drafters: Drafters
) -> tuple[DraftChoice | None, BenchDrafts | None]:
    """Who drafts, None where nobody does; and what is known of drafts before any. Measuring the costs warms up for
    them, too.
    """
    mode, count = request.draft, request.num_draft_tokens
    if mode == "off":
        return None, None
    # Raises where the drafter that was asked for is not there.
    drafters.drafting(mode, count, (), model.new_state(), model.config.vocab_size)
    drafters.prepare(mode)
    costs = bench.costs(model, drafters.mtp() if mode != "lookup" else None)
    off = why_off(mode, count)
    return DraftChoice(drafters, mode, count) if off is None else None, BenchDrafts(mode, count, off, costs)


def _subject(
    checkpoint: Checkpoint, dtype: str, kernels: Kernels, *, synthetic: bool = False, layers: int | None = None
) -> BenchSubject:
    of_layers = checkpoint.config.num_hidden_layers
    return BenchSubject(
        name=checkpoint.path.name if synthetic else model_name(checkpoint.path),
        variant=variant_name(checkpoint),
        synthetic=synthetic,
        layers=of_layers if layers is None else layers,
        of_layers=of_layers,
        weight_bytes=checkpoint.text_bytes,
        weight_bytes_per_token=make_layout(checkpoint).token_bytes,
        dtype=dtype,
        device=describe_device(),
        kernels=tuple(sorted(kernels.names)),
        kernel_faults=kernels.faults,
    )


def _synthetic(request: BenchRequest, variant: Variant | None, bench: Bench) -> _Findings:
    """Measure a synthetic model; of fewer layers than it has, extrapolated to all of them."""
    assert request.shape is not None
    whole = synthetic_checkpoint(request.shape, variant)
    of_layers = whole.config.num_hidden_layers
    layers = request.layers
    if layers is not None and layers > of_layers:
        raise SettingsError(f"the {request.shape} has {of_layers} layers: --layers {layers} is more than that")
    measured, costs, dtype, kernels = _measure_synthetic(request, variant, bench, layers)
    if layers is not None and layers < of_layers:
        # Times of some layers alone say nothing of the model: stopped before those of none, LoadCancelled is all.
        base, base_costs, _, _ = _measure_synthetic(request, variant, bench, 0)
        measured = [extrapolated(m, b, layers, of_layers) for m, b in zip(measured, base, strict=False)]
        costs = extrapolated_costs(costs, base_costs, layers, of_layers) if costs and base_costs else None
    drafts = BenchDrafts(request.draft, request.num_draft_tokens, costs=costs) if request.draft != "off" else None
    return _Findings(_subject(whole, dtype, kernels, synthetic=True, layers=layers), measured, drafts=drafts)


def _measure_synthetic(
    request: BenchRequest, variant: Variant | None, bench: Bench, layers: int | None
) -> tuple[list[Measured], PassCosts | None, str, Kernels]:
    assert request.shape is not None
    made = synthetic_model(
        synthetic_checkpoint(request.shape, variant, layers, mtp=request.draft in ("auto", "mtp")),
        request.dtype,
        context=request.depth + max(workload.tokens for workload in request.workloads),
        seed=request.seed,
        progress=lambda done, total: bench.progress("random weights", done, total),
        stop=bench.stop,
        kernels=request.load.kernels,
    )
    try:
        measured, costs = bench.sizes(made, request.workloads, request.depth), None
        # The MTP layer afterwards: what the model takes is measured without it.
        if request.draft != "off" and not bench.stop():
            with suppress(LoadCancelled):
                costs = bench.costs(made, synthetic_mtp(made, seed=request.seed, stop=bench.stop))
        return measured, costs, made.dtype, made.kernels
    finally:
        made.close()


def measure_variants(request: BenchRequest, stop: Stop, progress: Progress) -> dict[str, Any]:
    """The table of the published variants: of the synthetic shape, of a directory's model, else of the 27B."""
    machine = request.machine()
    shape = request.shape or (CARD_SHAPE if request.model_dir is None else None)
    if shape is not None:
        name, config = shape, shape_config(shape)
    else:
        checkpoint = request.checkpoint()
        name, config = model_name(checkpoint.path), checkpoint.config
    for workload in request.workloads:
        check_context(workload, request.depth, config.max_position_embeddings)
    rows = variant_rows(config, machine, shape=shape, depth=request.depth)
    if request.shape is not None:
        bench = _bench(request, stop, progress)
        for index, row in enumerate(rows):
            if stop():
                break
            try:
                measured = _synthetic(request, row.variant, bench).sizes
            except LoadCancelled:
                break  # the rows before this one are finished
            except CapacityError as error:
                rows[index] = replace(row, refusal=str(error))
                continue
            rates = spread(measured[0].rates) if measured else None
            rows[index] = replace(row, measured_tok_s=rates.as_dict() if rates else None)
    return {
        "kind": "variants",
        "model": name,
        "depth": request.depth,
        "workload": request.workloads[0].name if request.shape is not None else None,
        "repeat": request.repeat if request.shape is not None else None,
        "dtype": (request.dtype or default_dtype()) if request.shape is not None else None,
        "layers": request.layers,
        "of_layers": config.num_hidden_layers,
        **machine_facts(machine),
        "variants": [row.as_dict() for row in rows],
        "interrupted": stop(),
    }
