"""Which modules of this package a piece of code runs: what a stage, or a kept result, depends on."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from dualrec_utils.core import config

PACKAGE = "dualrec_utils"


def file_of(module: str, *, root: Path = config.PACKAGE_ROOT) -> Path | None:
    """The file of `dualrec_utils.<module>`, or None where no such module is."""
    base = root / PACKAGE / module.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported(source: str, *, root: Path = config.PACKAGE_ROOT) -> set[str]:
    """Modules of the package that a piece of code imports, anywhere in it: names without the package's.

    Raises:
        ValueError: on a relative import, which is not followed.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"relative imports are not followed: {ast.unparse(node)}")
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    modules = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == PACKAGE:
            # Importing a.b runs a's __init__ too.
            modules |= {".".join(parts[1:end]) for end in range(2, len(parts) + 1)}
    return {name for name in modules if file_of(name, root=root)}


def closure(
    source: str,
    *,
    without: frozenset[str] = frozenset(),
    by_name: bool = True,
    root: Path = config.PACKAGE_ROOT,
) -> set[str]:
    """Files that a piece of code reaches, directly or through other modules.

    Args:
        source: Python code, such as `import dualrec_utils.models.lstm.training` or a notebook's cells.
        without: modules that are not followed, names without the package's.
        by_name: a package whose `__init__` imports modules by name reaches all of its modules, for its
            text does not say which.
        root: folder that holds the package.

    Returns:
        Paths relative to `root`; empty files are left out.
    """
    reached, waiting = set(), imported(source, root=root) - without
    while waiting:
        module = waiting.pop()
        reached.add(module)
        path = file_of(module, root=root)
        text = path.read_text(encoding="utf-8")
        imports = imported(text, root=root)
        if by_name and path.name == "__init__.py" and "importlib.import_module" in text:
            imports |= {f"{module}.{other.stem}" for other in path.parent.glob("*.py") if other != path}
        waiting |= imports - without - reached
    files = {file_of(module, root=root) for module in reached}
    return {str(path.relative_to(root)) for path in files if path.read_text(encoding="utf-8").strip()}


def digest(paths: Iterable[str], *, root: Path = config.PACKAGE_ROOT) -> str:
    """SHA-256 of what some files do: comments, docstrings and layout do not count.

    Args:
        paths: Python files relative to `root`, as :func:`closure` gives them; their order does not matter.
        root: folder that holds the package.
    """
    trees = {str(path): _without_docstrings((root / path).read_text(encoding="utf-8")) for path in paths}
    return hashlib.sha256(json.dumps(sorted(trees.items())).encode()).hexdigest()


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.unparse(tree)
