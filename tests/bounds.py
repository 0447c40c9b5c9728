"""Print the dependencies in the versions at the bounds of their ranges, as pip reads them.

python tests/bounds.py oldest    # the oldest that pyproject.toml allows
python tests/bounds.py newest    # the newest there are, upper bounds ignored
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def at_bound(dependencies: Iterable[str], which: str) -> Iterator[str]:
    """Yield each dependency as a requirement for one of its versions."""
    for dependency in dependencies:
        found = re.fullmatch(r"([\w-]+)>=([\w.]+)(,.*)?", dependency)
        assert found is not None, dependency
        yield f"{found[1]}=={found[2]}" if which == "oldest" else found[1]


if __name__ == "__main__":
    _project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(" ".join(at_bound(_project["dependencies"], sys.argv[1])))
