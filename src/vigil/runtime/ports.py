"""Ports: which are free, and what to say of one that is not."""

import errno
import random
import socket

from vigil.errors import ContractError, Unavailable

_FIRST, _LAST = 20_000, 29_999
"""Below the range from which systems take the ports of outgoing connections."""


def address(host: str, port: int) -> str:
    """Return host and port as one word."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with _probe(host) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise ContractError(
                f"cannot listen on {host}: {error.strerror}; give an address of this machine"
            ) from error
    return True


def free_ports(host: str, count: int) -> list[int]:
    """Return different free ports."""
    candidates = random.Random().sample(range(_FIRST, _LAST + 1), 2000)  # noqa: S311 - not a secret
    found = [port for port in _take_free(host, candidates, count)]
    if len(found) < count:
        raise Unavailable(f"no free port between {_FIRST} and {_LAST} on {host}: end something that listens there")
    return found


def check_free(host: str, port: int, option: str) -> None:
    """Raise ContractError naming the port that is in use and another that is free."""
    if is_free(host, port):
        return
    free = next((other for other in range(port + 1, min(port + 1000, 65_536)) if is_free(host, other)), None)
    other = f", for instance `vigil up {option} {free}`" if free else f" by `vigil up {option} PORT`"
    raise ContractError(f"port {port} on {host} is in use by another program: end that, or choose another port{other}")


def _take_free(host: str, candidates: list[int], count: int) -> list[int]:
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_free(host, port):
            found.append(port)
    return found


def _probe(host: str) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
