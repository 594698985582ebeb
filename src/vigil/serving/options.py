"""The servers' flags: those of kserve.ModelServer, and ours beside them."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from vigil.errors import ContractError

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


@dataclass(frozen=True)
class ServerOptions:
    """What a server is told by its flags; `--help` explains each."""

    model_name: str = "model"
    http_port: int = 8080
    grpc_port: int = 8081
    enable_grpc: bool = True
    host: str = "127.0.0.1"
    model_dir: str = "/mnt/models"
    bundle_hash: str = ""
    predictor_host: str | None = None
    feature_state: str = ""
    revision: str = "local"
    model_version: str = ""
    max_body_bytes: int = 16 << 20
    max_rows: int = 50_000
    max_concurrency: int = 64
    request_timeout_seconds: float = 10.0
    batch_timeout_seconds: float = 60.0
    drain_seconds: float = 5.0
    shutdown_seconds: float = 20.0
    threads: int = 2
    max_ahead_hours: float = 24.0
    log_queue_rows: int = 200_000
    log_file_bytes: int = 256 << 20
    log_file_seconds: float = 20.0
    vectors: bool = False
    fleet: str = ""
    most_shards: int = 8
    refresh_seconds: float = 30.0


_HELP = {
    "host": "address to listen on; 0.0.0.0 for all interfaces",
    "model_dir": "predictor: folder or gs:// address of the bundle",
    "bundle_hash": "predictor: hash that the bundle has to have; any verified bundle without it",
    "feature_state": "transformer: folder or gs:// address of sealed states that a new store starts from",
    "revision": "name of this revision, for metrics, answers and the decision log",
    "model_version": "version of the model in the registry",
    "max_body_bytes": "largest body of a request; more is answered with 413",
    "max_rows": "most rows of a request; more is answered with 413",
    "max_concurrency": "requests worked on at once; more are answered with 429",
    "request_timeout_seconds": "time for a request from its first byte to its answer; more is answered with 504",
    "batch_timeout_seconds": "the same for a batch",
    "drain_seconds": "after SIGTERM: how long to be unready but go on accepting requests",
    "shutdown_seconds": "after that: how long requests that are under way may take",
    "threads": "threads for batches and for the state store",
    "max_ahead_hours": "transformer: how far an event may lie in the future; 0 for any time",
    "log_queue_rows": "predictor: decisions that may wait to be written",
    "log_file_bytes": "predictor: size at which the decision log begins a new file",
    "log_file_seconds": "predictor: age at which it does so where VIGIL_DECISIONS names an archive for finished files",
    "fleet": "sites: serve all live shards of this fleet in the registry, instead of --model_dir",
    "most_shards": "sites: shards in memory at once; the one that was not asked for longest makes room",
    "refresh_seconds": "sites: how often to look for new versions of the fleet; 0 for never",
    "vectors": "transformer: add its vector to each decision, so that the detector service can watch the features",
}


def parse_options(arguments: Sequence[str], drain_seconds: float) -> ServerOptions:
    """Return the options, or raise ContractError; an unknown flag ends the process as argparse does."""
    from kserve.model_server import parser as kserve_parser

    parser = argparse.ArgumentParser(parents=[kserve_parser], conflict_handler="resolve")
    for field in fields(ServerOptions):
        if field.name in _HELP:
            default = drain_seconds if field.name == "drain_seconds" else field.default
            if isinstance(default, bool):
                parser.add_argument(f"--{field.name}", action="store_true", help=_HELP[field.name])
                continue
            kind = {int: int, float: float}.get(type(field.default), str)
            parser.add_argument(f"--{field.name}", type=kind, default=default, help=_HELP[field.name])
    given = vars(parser.parse_args(arguments))
    if given["workers"] != 1:
        raise ContractError("--workers must be 1: kserve 0.20 breaks with more, scale by replicas")
    options = ServerOptions(**{field.name: given[field.name] for field in fields(ServerOptions)})
    _check(options)
    return options


def _check(options: ServerOptions) -> None:
    for name in ("model_name", "revision"):
        if not _NAME.fullmatch(getattr(options, name)):
            raise ContractError(f"--{name} {getattr(options, name)!r}: letters, digits, dot, dash and underscore")
    for name in (
        "max_body_bytes",
        "max_rows",
        "max_concurrency",
        "request_timeout_seconds",
        "batch_timeout_seconds",
        "threads",
        "log_file_seconds",
        "most_shards",
    ):
        if getattr(options, name) <= 0:
            raise ContractError(f"--{name} is {getattr(options, name)}: it must be greater than 0")
    if "/" in options.revision or os.sep in options.revision:
        raise ContractError("--revision names a file of the decision log: no slash in it")
