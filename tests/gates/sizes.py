"""The size gate: functions of at most 40 lines of code, modules of at most 400, at most 6 parameters."""

import ast
import sys
from pathlib import Path

FOLDERS = ("src", "components", "pipelines", "kserve", "tests")
MAX_FUNCTION, MAX_MODULE, MAX_PARAMETERS = 40, 400, 6


def code_lines(node: ast.AST) -> int:
    """Return the number of lines that hold code: docstrings, comments and blank lines do not count."""
    strings = {
        id(child)
        for child in ast.walk(node)
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str)
    }
    lines: set[int] = set()
    for child in ast.walk(node):
        if id(child) in strings or not isinstance(child, ast.stmt | ast.excepthandler):
            continue
        first = getattr(child, "lineno", 0)
        body = getattr(child, "body", None)
        last = body[0].lineno - 1 if isinstance(body, list) and body else getattr(child, "end_lineno", first)
        lines.update(range(first, max(first, last) + 1))
    return len(lines)


def is_compiled(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether numba compiles the function: it takes arrays one by one, since a tuple of them costs time."""
    return any("njit" in ast.unparse(decorator) for decorator in node.decorator_list)


def is_wired(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the parameters are those of a component or a pipeline, which Kubeflow shows one by one."""
    names = [ast.unparse(decorator) for decorator in node.decorator_list]
    wired = any(name == "component" or name.startswith("dsl.pipeline") for name in names)
    return wired and path.parts[0] in ("components", "pipelines")


def excesses(path: Path, source: str) -> list[str]:
    """Return a line for each limit that the module breaks."""
    tree = ast.parse(source, str(path))
    is_test = path.parts[0] == "tests"
    found = []
    if (size := code_lines(tree)) > MAX_MODULE:
        found.append(f"{path}: {size} lines of code, at most {MAX_MODULE}: split the module")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (size := code_lines(node)) > MAX_FUNCTION:
            found.append(f"{path}:{node.lineno}: {node.name} has {size} lines of code, at most {MAX_FUNCTION}")
        count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
        count -= bool(node.args.args) and node.args.args[0].arg in ("self", "cls")
        free = is_test or is_compiled(node) or is_wired(path, node)
        if count > MAX_PARAMETERS and not free:
            found.append(f"{path}:{node.lineno}: {node.name} has {count} parameters, at most {MAX_PARAMETERS}")
    return found


def check(root: Path) -> list[str]:
    """Return a line for each excess in the repository at `root`."""
    paths = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    return [line for path in paths for line in excesses(path.relative_to(root), path.read_text())]


if __name__ == "__main__":
    problems = check(Path(__file__).parents[2])
    print("\n".join(problems) or "sizes: within the limits")
    sys.exit(bool(problems))
