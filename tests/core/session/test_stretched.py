"""Conversations with a context that config.json stretches by YaRN, as people do it by an edit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qwen_core import demo_model_path, load_model, load_session
from qwen_core.errors import CheckpointError

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}


def stretched(folder: Path, section: str, rope: dict[str, Any]) -> Path:
    """The demo model with `rope` over what its text_config has as `section`."""
    shutil.copytree(demo_model_path(), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    text[section] = {**text.get(section, {}), **rope}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_stretched_context_has_the_stretched_limit_and_answers(tmp_path: Path) -> None:
    with load_session(stretched(tmp_path, "rope_parameters", YARN)) as session:
        assert session.summary().context_limit == 16_384
        *_, last = session.send_stream("What is the capital of France?", temperature=0, max_new_tokens=4)
        assert last.done and last.finish_reason == "length"


def test_a_base_that_the_stretching_loses_is_refused(tmp_path: Path) -> None:
    """Transformers would answer from another base: so does `load_model`, but it is no model to talk with."""
    path = stretched(tmp_path, "rope_scaling", YARN)
    assert load_model(path).config.rope_theta == 10_000
    with pytest.raises(CheckpointError, match=r"config\.json.*YaRN.*write rope_theta into rope_scaling"):
        load_session(path)
