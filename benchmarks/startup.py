"""How much later Python starts for the start-up hook: ``python -m benchmarks.startup``."""

from __future__ import annotations

import argparse
import py_compile
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _pillow_cwic_autoload as hook

# Started without the site module, so that it can be timed on one folder alone. Python looks for sitecustomize at every
# start, with or without the hook, which is what makes it read the folders.
TIMED = """
import sys, os, site, time
sys.path.insert(0, sys.argv[1])
try:
    import sitecustomize
except ImportError:
    pass
start = time.perf_counter()
site.addsitedir(sys.argv[1])
end = time.perf_counter()
print(1000 * (end - start), sys.modules.get("_pillow_cwic_autoload") is not None)
"""


def measure(runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds that a site folder takes in a new interpreter: with the hook alone in it, and empty."""
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full", Path(folder) / "empty"
        for each in (full, empty):
            each.mkdir()
        for name, content in hook.FILES.items():
            (full / name).write_text(content)
        module = Path(hook.__file__)
        (full / module.name).write_bytes(module.read_bytes())
        py_compile.compile(str(full / module.name), doraise=True)  # as pip does when it installs

        def timed(path: Path) -> float:
            command = [sys.executable, "-S", "-c", TIMED, str(path)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            if (output[1] == "True") != (path == full):
                raise RuntimeError(f"the hook did not run as it should: {output}")
            return float(output[0])

        pairs = [(timed(full), timed(empty)) for _ in range(runs)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=51)
    with_hook, without = measure(parser.parse_args().runs)
    added = statistics.median(with_hook) - statistics.median(without)
    print(f"start-up hook: {added:.3f} ms, median of {len(with_hook)} starts")


if __name__ == "__main__":
    main()
