"""Host files of mlx.launch, and what is refused of one, in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine.hosts import Host, Hosts, read_hosts
from qwen_core.errors import QwenError

A, B = {"ssh": "a.local", "ips": ["10.0.0.1"]}, {"ssh": "me@b", "ips": ["10.0.0.2", "10.1.0.2"]}


def written(path: Path, value: Any) -> str:
    file = path / "hosts.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(file)


def test_a_number_is_so_many_ranks_here() -> None:
    assert read_hosts("") is read_hosts("1") is None
    found = read_hosts(" 3 ")
    assert found == Hosts((Host("127.0.0.1", ("127.0.0.1",)),) * 3)
    assert found is not None and found.called(2) == "rank 2 (127.0.0.1)"


def test_both_forms_of_the_file_are_read_as_mlx_launch_reads_them(tmp_path: Path) -> None:
    from mlx._distributed_utils.common import Hostfile

    third = {"ssh": "10.0.0.3"}
    for value in ([A, B, third], {"backend": "ring", "hosts": [A, B, third], "envs": ["MLX_METAL_FAST_SYNCH=1"]}):
        path = written(tmp_path, value)
        found, theirs = read_hosts(path), Hostfile.from_file(path)
        assert found is not None
        assert [host.name for host in found.ranks] == [host.ssh_hostname for host in theirs.hosts]
        assert [list(host.ips) for host in found.ranks[:2]] == [host.ips for host in theirs.hosts[:2]]
        assert found.ranks[2].ips == ("10.0.0.3",)  # an address is one, as with mlx.launch --hosts
        assert [f"{name}={text}" for name, text in found.variables] == theirs.envs
    assert read_hosts(written(tmp_path, [A])) is None


def test_devices_of_rdma(tmp_path: Path) -> None:
    a, b = {**A, "rdma": [None, "rdma_en2"]}, {**B, "rdma": [["rdma_en2", "rdma_en3"], None]}
    found = read_hosts(written(tmp_path, {"backend": "jaccl", "hosts": [a, b]}))
    assert found is not None
    assert found.backend == "jaccl"
    assert [host.rdma for host in found.ranks] == [(None, ("rdma_en2",)), (("rdma_en2", "rdma_en3"), None)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ({}, "a list of 1 to 64 hosts"),
        ([], "a list of 1 to 64 hosts"),
        ([A] * 65, "a list of 1 to 64 hosts"),
        ("3", "a list of 1 to 64 hosts"),
        ([A, "b"], "host 1: its ssh must be a host's name, and is None"),
        ([A, {"ssh": "-oProxyCommand=touch x"}], "host 1: its ssh must be a host's name"),
        ([A, {"ssh": "b; rm x"}], "host 1: its ssh must be a host's name"),
        ([A, {"ssh": "b", "ips": ["b.local"]}], "host 1: 'b.local' is no IPv4 address"),
        ([A, {"ssh": "b", "ips": ["::1"]}], "host 1: '::1' is no IPv4 address"),
        ([A, {"ssh": "b", "ips": 3}], "host 1: ips and rdma must be lists"),
        ([A, {"ssh": "b"}], "b has no ips"),
        ({"hosts": [A, B], "backend": "mpi"}, "one of ring, jaccl, jaccl-ring is needed"),
        ({"hosts": [A, B], "backend": ["ring"]}, "one of ring, jaccl, jaccl-ring is needed"),
        ({"hosts": [A, B], "envs": ["LD_PRELOAD=x"]}, "a name that begins with MLX_"),
        ({"hosts": [A, B], "envs": {"MLX_A": "1"}}, "envs: a list"),
        ({"hosts": [A, B], "backend": "jaccl"}, "its rdma must list a device to each of 2 hosts"),
        ({"hosts": [{**A, "rdma": [None, None]}, B], "backend": "jaccl"}, "a.local has no RDMA device to me@b"),
        ({"hosts": [{**A, "rdma": [None, "a b"]}, B], "backend": "jaccl"}, "names no RDMA device"),
        ({"hosts": [{"ssh": "a", "rdma": []}, B], "backend": "jaccl"}, "the first host has no ips"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(value: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(QwenError) as caught:
        read_hosts(written(tmp_path, value))
    assert str(caught.value).startswith(f"the host file {tmp_path}")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["0", "65", "9" * 5000, "nothing.json", "\0", "/dev/zero", "."])
def test_what_is_no_host_file_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QwenError):
        read_hosts(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["hosts", "ssh", "ips", "rdma", "backend", "envs"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=VALUES)
def test_any_file_is_hosts_or_one_line(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.getbasetemp(), value)
    try:
        found = read_hosts(path)
    except QwenError:
        return
    assert found is None or len(found.ranks) > 1
