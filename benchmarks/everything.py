"""Every benchmark, in the order in which they need each other, then the documents that gather them.

python -m benchmarks.everything [--only NAME ...] [--list]

Each runs in a process of its own, with its defaults. One that fails does not stop the others; it is named at the end,
and the exit code is 1. ``docs/results/runs.csv`` keeps when each ran last, how long and on what, and docs/BENCHMARKS.md
shows it. Hours in all: ``--only`` runs some, and keeps what is known of the others.
"""

from __future__ import annotations

import argparse
import csv
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from benchmarks.tables import table
from benchmarks.timing import machine

# Times first, while nothing has warmed the machine; per_image and readme read what the others write.
ORDER = (
    "startup", "speed", "cores", "growth", "coder", "bulk", "rate_distortion", "per_image", "contact_sheet", "region",
    "graphics", "bounds", "shrink", "side_information", "effort", "paper", "readme",
)  # fmt: skip
COLUMNS = ("benchmark", "minutes", "outcome", "machine", "torch")
BEGIN = "<!-- runs begin: written by python -m benchmarks.everything -->\n"
END = "<!-- runs end -->\n"


def run(name: str) -> dict[str, str]:
    """Runs one benchmark: the row that says how it went."""
    start = time.monotonic()
    code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode
    return {
        "benchmark": name,
        "minutes": f"{(time.monotonic() - start) / 60:.1f}",
        "outcome": "done" if code == 0 else f"failed, exit code {code}",
        "machine": machine(),
        "torch": f"{metadata.version('torch')}, Python {platform.python_version()}",
    }


def read(path: Path) -> dict[str, dict[str, str]]:
    """The rows that are known, by benchmark."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["benchmark"]: row for row in csv.DictReader(file)}


def write(path: Path, rows: dict[str, dict[str, str]]) -> None:
    """The rows in the order of the benchmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in ORDER if name in rows)


def gathered(text: str, rows: dict[str, dict[str, str]]) -> str:
    """docs/BENCHMARKS.md with the runs between its marks. Raises ValueError if it has none."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"no marks {BEGIN.strip()} and {END.strip()}")
    body = [[rows[name][column] for column in COLUMNS] for name in ORDER if name in rows]
    shown = table(list(COLUMNS), body) if body else "No run yet.\n"
    return f"{before}{mark}\n{shown}\n{end}{after}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--list", action="store_true", help="run nothing, name the benchmarks in order")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    args = parser.parse_args()
    if args.list:
        print("\n".join(ORDER))
        return
    path, page = args.docs / "results" / "runs.csv", args.docs / "BENCHMARKS.md"
    rows = read(path)
    for name in (name for name in ORDER if name in args.only):
        print(f"== {name}", flush=True)
        rows[name] = run(name)
        write(path, rows)
        page.write_text(gathered(page.read_text(), rows))
    failed = [name for name in args.only if rows[name]["outcome"] != "done"]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
