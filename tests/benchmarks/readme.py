"""Prints the table of numbers that the README shows, from the files in `bench/`; `--write` puts it there.

python -m tests.benchmarks.readme [--write]
"""

import json
import re
import sys
from pathlib import Path

from tests.benchmarks.report import FOLDER

README = Path(__file__).parents[2] / "README.md"
_PLACE = re.compile(r"(<!-- numbers -->\n).*(<!-- end of numbers -->)", re.DOTALL)


def render() -> str:
    """Return the table as Markdown: the numbers that have an aim; `bench/` has the others too."""
    rows = ["| number | value | aim | beside |", "|---|---|---|---|"]
    for path in sorted(FOLDER.glob("*.json")):
        for item in json.loads(path.read_text()):
            if item["aim"] is None:
                continue
            sign = {"higher": "≥", "lower": "≤"}[item["better"]]
            aim = f"{sign} {item['aim']:,.4g}"
            value = f"{item['value']:,.0f}" if abs(item["value"]) >= 1000 else f"{item['value']:.3g}"
            rows.append(f"| `{item['name']}` | {value} {item['unit']} | {aim} | {item['compared_with']} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    table = render()
    if "--write" in sys.argv:
        README.write_text(_PLACE.sub(lambda place: place.group(1) + table + place.group(2), README.read_text()))
    else:
        print(table)
