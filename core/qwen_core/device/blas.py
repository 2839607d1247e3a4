"""Which BLAS multiplies float32 matrices on a CPU: MLX's, and NumPy's, which model/numpy_products.py uses."""

import ctypes
from pathlib import Path

import numpy as np

from qwen_core.device.backend import is_gpu, mx

# What only one library of these exports, beside the names that all of them share.
_MAKERS = {
    "openblas_get_config": "OpenBLAS",
    "MKL_Get_Version": "MKL",
    "bli_info_get_version_str": "BLIS",
    "flexiblas_get_version": "FlexiBLAS",
}


class _Place(ctypes.Structure):
    """Dl_info of dladdr: what lies at an address."""

    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def describe_blas() -> str | None:
    """For people: "reference (libblas.so.3.10.0); NumPy scipy-openblas 0.3.31". None on a GPU, which has kernels."""
    return None if is_gpu() else f"{_mlx_blas()}; NumPy {_numpy_blas()}"


def _mlx_blas() -> str:
    """The library whose `cblas_sgemm` MLX calls: a global one, as LD_PRELOAD brings, comes before its own."""
    module = Path(mx.__file__).parent / "lib"
    for library in (None, *sorted(module.glob("libmlx.*"))):
        try:
            product = ctypes.CDLL(library and str(library)).cblas_sgemm
        except (OSError, AttributeError):
            continue
        place = _Place()
        if ctypes.CDLL(None).dladdr(ctypes.cast(product, ctypes.c_void_p), ctypes.byref(place)) and place.file:
            file = Path(place.file.decode(errors="replace"))
            return file.name if "Accelerate" in str(file) else f"{_maker(file)} ({file.name})"
    return "unknown"


def _maker(file: Path) -> str:
    library = ctypes.CDLL(str(file))
    return next((name for symbol, name in _MAKERS.items() if hasattr(library, symbol)), "reference")


def _numpy_blas() -> str:
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
