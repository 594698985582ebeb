"""The import gate: folders of `src/vigil` import only what is to their left, heavy packages stay where they belong."""

import ast
import sys
from pathlib import Path

LAYERS = (
    ("errors",),
    ("clock", "settings", "logs", "figures", "files"),
    ("database",),
    ("contracts",),
    ("web",),
    ("simulate",),
    ("ingest",),
    ("features",),
    ("members",),
    ("ensemble",),
    ("evaluation",),
    ("registry",),
    ("decisions", "fleet"),
    ("usecase",),
    ("training",),
    ("serving", "monitoring", "feedback", "audit", "alerts"),
    ("runtime",),
    ("deployment",),
    ("rollout",),
    ("orchestration",),
    ("rerun",),
    ("demo",),
    (
        "cli_alerts",
        "cli_demo",
        "cli_evaluation",
        "cli_features",
        "cli_ingest",
        "cli_kserve",
        "cli_models",
        "cli_monitor",
        "cli_pipeline",
        "cli_rerun",
        "cli_rollout",
        "cli_runtime",
        "cli_schemas",
        "cli_simulate",
        "cli_sites",
    ),
    ("cli",),
)
ONLY_IN = {
    "kserve": {"serving"},
    "alibi_detect": {"monitoring"},
    "keras": {"members"},
    "jax": {"members"},
    "mlflow": {"registry"},
    "redis": {"features"},
    "pandera": {"ingest"},
    "kfp": {"orchestration"},
    "kubernetes": {"deployment", "rollout"},
    "aiohttp": {"web", "serving", "runtime", "monitoring", "alerts", "rollout", "rerun", "demo"},
}
"""Packages that are slow to import, or that serving must not need, by the folders that may import them."""

_RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Return line and dotted name of everything that the module imports, inside functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def violations(folder: str, source: str) -> list[str]:
    """Return what a module of `src/vigil/<folder>` must not import."""
    if folder not in _RANK:
        return [f"{folder} has no place in tests/gates/imports.py: give it one"]
    found = []
    for line, name in imported(ast.parse(source)):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "vigil" and target in _RANK and target != folder and _RANK[target] >= _RANK[folder]:
            found.append(f"line {line}: {folder} must not import {target}: imports point only to the left (DESIGN 1)")
        if top in ONLY_IN and folder not in ONLY_IN[top]:
            found.append(f"line {line}: {folder} must not import {top}: only {', '.join(sorted(ONLY_IN[top]))} may")
    return found


def check(root: Path) -> list[str]:
    """Return a line for each violation in the repository at `root`."""
    package = root / "src" / "vigil"
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        folder = relative.parts[0].removesuffix(".py")
        if folder not in ("__init__", "__main__"):
            found += [f"{path.relative_to(root)}: {problem}" for problem in violations(folder, path.read_text())]
    for name in ("kserve", "tests/kserve"):
        if (root / name / "__init__.py").exists():
            found.append(f"{name}/__init__.py would shadow the installed kserve package: remove it")
    return found


if __name__ == "__main__":
    problems = check(Path(__file__).parents[2])
    print("\n".join(problems) or "imports: all point to the left")
    sys.exit(bool(problems))
