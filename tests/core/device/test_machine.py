"""What is known of the machine: where a peak is from, GPU cores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.device import hardware
from qwen_core.device.backend import device_info
from qwen_core.device.hardware import detect, parse_gpu_cores, read_gpu_cores
from qwen_core.device.machine import this_machine

M3_MAX = {"device_name": "Apple M3 Max", "max_recommended_working_set_size": 96 << 30}

# The line that matters of what `ioreg -rd1 -c AGXAccelerator` prints, among its neighbours.
REGISTRY = """
+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x100000a4c, registered, matched, active, busy 0 (1 ms)>
    {
      "IOClass" = "AGXAcceleratorG15X"
      "gpu-core-count" = 40
      "model" = "Apple M3 Max"
    }
"""


def never() -> float | None:
    raise AssertionError("nothing is measured here")


def test_a_published_peak_is_not_measured() -> None:
    machine = detect(M3_MAX, gpu_cores=30, measure=never)
    assert (machine.chip, machine.gpu_cores) == ("M3 Max", 30)
    assert (machine.peak_bandwidth_gb_s, machine.peak_source) == (300, "published")
    assert machine.recommended_bytes == 96 << 30
    assert machine.memory_bytes == hardware.memory_bytes()


def test_what_the_person_configured_wins() -> None:
    machine = detect(M3_MAX, configured_gb_s=123.0, measure=never)
    assert (machine.peak_bandwidth_gb_s, machine.peak_source) == (123.0, "configured")


@pytest.mark.parametrize("name", ["Apple M9 Max", "Apple A18", "Apple M5 Ultra"])
def test_an_apple_chip_without_a_figure_stays_unknown(name: str) -> None:
    machine = detect({"device_name": name}, measure=never)
    assert (machine.peak_bandwidth_gb_s, machine.peak_source) == (None, None)


@pytest.mark.parametrize(("found", "source"), [(21.5, "measured"), (None, None)])
def test_elsewhere_a_copy_stands_in_and_says_so(found: float | None, source: str | None) -> None:
    machine = detect({"device_name": "AMD EPYC"}, measure=lambda: found)
    assert (machine.peak_bandwidth_gb_s, machine.peak_source) == (found, source)


def test_gpu_cores_are_read_from_the_registry() -> None:
    assert parse_gpu_cores(REGISTRY) == 40
    assert parse_gpu_cores("") is None
    assert parse_gpu_cores('"gpu-core-count" = "many"') is None


@given(st.text())
def test_no_registry_is_too_strange(text: str) -> None:
    cores = parse_gpu_cores(text)
    assert cores is None or 0 <= cores < 10_000


def test_only_a_mac_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> object:
        raise OSError("no such program")

    monkeypatch.setattr(hardware.subprocess, "run", run)
    monkeypatch.setattr(hardware.sys, "platform", "linux")
    assert read_gpu_cores() is None
    monkeypatch.setattr(hardware.sys, "platform", "darwin")
    assert read_gpu_cores() is None


def test_this_machine_has_what_is_known_of_its_device() -> None:
    machine = this_machine(measured=lambda: 21.5)
    apple = str(device_info()["device_name"]).startswith("Apple")
    assert (machine.peak_source in ("published", None)) if apple else machine.peak_source == "measured"
    assert this_machine(50.0, measured=never).peak_bandwidth_gb_s == 50.0
