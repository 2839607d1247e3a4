"""On which machines the ranks of a model run: what `--hosts` says, a number or mlx.launch's own host file, checked.

The first host is this machine, whose engine process is rank 0. The file is `mlx.launch --hostfile`'s and
`mlx.distributed_config` writes it (mlx/_distributed_utils/common.py, `Hostfile`): a list of hosts, or an object with
that list, the backend and environment variables.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.files import read_text, strict_json
from qwen_core.model.shard import MOST_RANKS

MAX_FILE_BYTES = 1 << 20
MOST_ADDRESSES = 16
LOCAL = "127.0.0.1"
"""The one name that mlx.launch starts a process for without ssh."""

Backend = Literal["ring", "jaccl", "jaccl-ring"]
Devices = tuple[str, ...] | None

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%-]{0,254}")  # none that ssh would take for an option
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VARIABLE = re.compile(r"(MLX_[A-Z0-9_]{1,60})=([^\0\r\n]{0,255})")


@dataclass(frozen=True)
class Host:
    """One rank's machine. `name`: what ssh calls it; `ips`: where the ring reaches it; `rdma`: its devices of RDMA to
    each of the hosts, None to itself."""

    name: str
    ips: tuple[str, ...] = ()
    rdma: tuple[Devices, ...] = ()


@dataclass(frozen=True)
class Hosts:
    """All ranks in order, two or more, what moves their data, and the environment variables they all have."""

    ranks: tuple[Host, ...]
    backend: Backend = "ring"
    variables: tuple[tuple[str, str], ...] = ()

    def called(self, rank: int) -> str:
        """The rank as every message names it."""
        return f"rank {rank} ({self.ranks[rank].name})"


def read_hosts(text: str) -> Hosts | None:
    """What `text` says: "" or "1" for this process alone, a number for so many ranks on this machine, else a host file.

    Raises SettingsError, one line, for everything else.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        if not 1 <= int(text[:9]) <= MOST_RANKS:
            raise SettingsError(f"hosts = {quote(text)}: there can be 1 to {MOST_RANKS} ranks")
        return _several(Hosts((Host(LOCAL, (LOCAL,)),) * int(text)))
    return read_host_file(Path(text).expanduser()) if text else None


def read_host_file(path: Path) -> Hosts | None:
    """The hosts of a file of mlx.launch; None where it names one alone."""
    where = f"the host file {quote(path)}"
    try:
        text = read_text(path, MAX_FILE_BYTES)
    except QwenError as error:
        raise SettingsError(f"the host file {error}") from None
    try:
        return _several(_File(where).hosts(strict_json(text, 10_000)))
    except QwenError:
        raise
    except ValueError as error:
        raise SettingsError(f"{where} is not valid JSON: {quote(error)}") from None


def _several(hosts: Hosts) -> Hosts | None:
    return hosts if len(hosts.ranks) > 1 else None


class _File:
    """The parts of one host file, each checked; `where` begins every message."""

    def __init__(self, where: str) -> None:
        self._where = where

    def hosts(self, value: Any) -> Hosts:
        given = value if isinstance(value, dict) else {"hosts": value}
        listed = given.get("hosts")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_RANKS:
            self._refuse(f"it must be a list of 1 to {MOST_RANKS} hosts, or an object with that list as hosts")
        backend = given.get("backend") or "ring"
        if backend not in get_args(Backend):
            self._refuse(f"backend {quote(repr(backend))}: one of {', '.join(get_args(Backend))} is needed")
        envs = given.get("envs", [])
        variables = (
            [self._variable(entry) for entry in envs] if isinstance(envs, list) else self._refuse("envs: a list")
        )
        hosts = tuple(self._host(number, entry) for number, entry in enumerate(cast(list[Any], listed)))
        if backend == "ring":
            self._need_addresses(hosts)
        else:
            self._need_devices(hosts, around=backend == "jaccl-ring")
        return Hosts(hosts, backend, tuple(variables))

    def _host(self, number: int, entry: Any) -> Host:
        where = f"host {number}"
        given: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        name = given.get("ssh")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._refuse(f"{where}: its ssh must be a host's name, and is {quote(repr(name))}")
        ips, rdma = given.get("ips") or [], given.get("rdma") or []
        if not isinstance(ips, list) or not isinstance(rdma, list) or len(ips) > MOST_ADDRESSES:
            self._refuse(f"{where}: ips and rdma must be lists, of at most {MOST_ADDRESSES} addresses")
        addresses = tuple(self._address(where, ip) for ip in ips) or ((name,) if _is_address(name) else ())
        return Host(name, addresses, tuple(self._devices(where, entry) for entry in rdma))

    def _address(self, where: str, ip: Any) -> str:
        return (
            ip
            if isinstance(ip, str) and _is_address(ip)
            else self._refuse(f"{where}: {quote(repr(ip))} is no IPv4 address")
        )

    def _devices(self, where: str, entry: Any) -> Devices:
        if entry is None:
            return None
        names = entry if isinstance(entry, list) else [entry]
        if not 1 <= len(names) <= MOST_ADDRESSES or not all(isinstance(n, str) and _DEVICE.fullmatch(n) for n in names):
            self._refuse(f"{where}: {quote(repr(entry))} names no RDMA device")
        return tuple(names)

    def _variable(self, entry: Any) -> tuple[str, str]:
        found = _VARIABLE.fullmatch(entry) if isinstance(entry, str) else None
        if found is None:
            self._refuse(f"envs: {quote(repr(entry))} is not NAME=VALUE with a name that begins with MLX_")
        return found[1], found[2]

    def _need_addresses(self, hosts: tuple[Host, ...]) -> None:
        for host in hosts:
            if not host.ips:
                self._refuse(f"{quote(host.name)} has no ips, which the ring needs; mlx.distributed_config writes them")

    def _need_devices(self, hosts: tuple[Host, ...], *, around: bool) -> None:
        count = len(hosts)
        if not hosts[0].ips:
            self._refuse("the first host has no ips: JACCL needs an address of rank 0")
        for rank, host in enumerate(hosts):
            if len(host.rdma) != count or host.rdma[rank] is not None:
                self._refuse(
                    f"{quote(host.name)}: its rdma must list a device to each of {count} hosts, null to itself"
                )
            others = ((rank - 1) % count, (rank + 1) % count) if around else range(count)
            for other in others:
                if other != rank and host.rdma[other] is None:
                    self._refuse(f"{quote(host.name)} has no RDMA device to {quote(hosts[other].name)}")

    def _refuse(self, problem: str) -> NoReturn:
        raise SettingsError(f"{self._where}: {problem}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)  # MLX cuts ip:port at its first colon
    except ValueError:
        return False
    return True
