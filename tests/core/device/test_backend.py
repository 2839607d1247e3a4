"""Without an MLX backend every entry point says which extra to install; without a compiler nothing is missing."""

import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from qwen_core.device import backend

# What `import mlx.core` does on Linux where only plain `mlx` is installed.
BROKEN = "raise ImportError('libmlx.so: cannot open shared object file: No such file or directory')\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", ["load_model", "load_session"])
def test_a_missing_backend_is_one_line_that_names_the_extras(tmp_path: Path, name: str) -> None:
    package = tmp_path / "mlx" / "core"
    package.mkdir(parents=True)
    (tmp_path / "mlx" / "__init__.py").write_text("")
    (package / "__init__.py").write_text(BROKEN)
    code = (
        "from qwen_core.errors import QwenError\n"
        f"try:\n    from qwen_core import {name}\n"
        "except QwenError as error:\n    print(type(error).__name__, error)\n"
    )
    done = python(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BackendError ")
    assert len(done.stdout.splitlines()) == 1
    for word in ("qwen-tui[cpu]", "qwen-tui[cuda]", "libmlx.so"):
        assert word in done.stdout


def test_headers_are_read_without_a_backend(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text(BROKEN)
    done = python("from qwen_core import open_checkpoint", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_elementwise_functions_work_without_a_compiler(tmp_path: Path) -> None:
    code = (
        "import mlx.core as mx\nfrom qwen_core.model import gated_delta\n"
        "print(gated_delta.update_rate(mx.zeros(2)).tolist())"
    )
    done = python(code, PATH=str(tmp_path))
    assert done.stdout.strip() == "[0.5, 0.5]", done.stderr


def test_elementwise_functions_take_any_shape() -> None:
    double = backend.elementwise(lambda x: x * 2.0)
    for shape in ((1,), (3, 2), (1, 5, 7)):
        assert mx.array_equal(double(mx.ones(shape)), mx.full(shape, 2.0))


def test_the_device_is_named_and_decides_the_type() -> None:
    assert backend.default_dtype() == ("bfloat16" if backend.is_gpu() else "float32")
    assert backend.describe_device().split()[0] in ("CPU", "Metal", "CUDA")
    assert "device_name" in backend.device_info()
