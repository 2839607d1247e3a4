"""What `doctor` says of the BLAS is the library that MLX's calls land in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_core.device import blas
from qwen_core.device.backend import is_gpu

SAY = "from qwen_core.device.blas import describe_blas; print(describe_blas())"
STAND_IN = """
extern "C" void cblas_sgemm() {}
extern "C" const char* openblas_get_config() { return "stand-in"; }
"""


@pytest.mark.skipif(is_gpu(), reason="a GPU has kernels of its own")
def test_mlx_s_own_library_and_numpy_s_are_named() -> None:
    said = blas.describe_blas()
    assert said is not None and "; NumPy " in said and "unknown" not in said


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="LD_PRELOAD and a compiler")
@pytest.mark.skipif(is_gpu(), reason="a GPU has kernels of its own")
def test_a_preloaded_library_comes_before_it(tmp_path: Path) -> None:
    source, library = tmp_path / "stand_in.cpp", tmp_path / "libfast.so"
    source.write_text(STAND_IN)
    subprocess.run(["g++", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    said = subprocess.run([sys.executable, "-c", SAY], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("OpenBLAS (libfast.so); NumPy ")


def test_on_a_gpu_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "is_gpu", lambda: True)
    assert blas.describe_blas() is None
