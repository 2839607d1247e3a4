"""The screen where several ranks share the model: header and panel say so. `pytest --snapshot-update` writes anew."""

from dataclasses import replace

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import TurnStarted
from support.app_stage import stage
from support.fake_engine import delta, loads_shared, shared_stats

SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(loads_shared, size) as here:
        here.clock(1.0)
        await here.ask("Explain NVFP4 vs MXFP4.")
        said = replace(delta(1, ("answer", "NVFP4 stores groups of 16 weights.")), stats=shared_stats())
        await here.feed(TurnStarted(1, 1242, 1204), said)
        if size[0] == 100:  # where it is hidden unless somebody wants it
            await here.pilot.press("f4")
        await here.settle()
        drawn = here.snapshot()
    assert drawn == snapshot
