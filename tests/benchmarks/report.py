"""How a benchmark publishes its numbers: a table on the screen and a file beside the code that it measures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parents[2] / "bench"


@dataclass(frozen=True)
class Number:
    """One published number."""

    name: str
    value: float
    unit: str
    better: str
    aim: float | None
    compared_with: str


def publish(name: str, numbers: Sequence[Number]) -> None:
    """Print the numbers and write them to `bench/<name>.json`; those measured earlier and not now stay."""
    path = FOLDER / f"{name}.json"
    old = json.loads(path.read_text()) if path.exists() else []
    by_name = {item["name"]: item for item in old} | {number.name: asdict(number) for number in numbers}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(list(by_name.values()), indent=1) + "\n")
    table = Table("name", "value", "unit", "aim", "compared with", title=f"bench/{name}.json")
    for item in by_name.values():
        sign = {"higher": "at least", "lower": "at most"}[item["better"]]
        aim = "" if item["aim"] is None else f"{sign} {item['aim']:g}"
        table.add_row(item["name"], f"{item['value']:,.4g}", item["unit"], aim, item["compared_with"])
    Console(width=160).print(table)
