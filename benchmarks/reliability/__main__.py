"""Measures what the decoder withstands and writes docs/RELIABILITY.md.

python -m benchmarks.reliability [--long] [--only NAME ...] [--page] [--docs DIR]

Every other module of this package has functions marked with ``row.row``; each measures one row. A run keeps the rows
that it does not measure: they stand in results/reliability.json below the documents. Exit status 1 if a row that was
measured falls short. RELIABILITY_SECONDS=N ends each long row after so many seconds; it then says how far it came.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from dataclasses import asdict
from pathlib import Path

import benchmarks.reliability as package
from benchmarks.reliability.row import MEASURES, LeftOutError, Row

INTRODUCTION = """# Reliability

What a decoder must withstand that is trusted with the only copy of a picture, and what this one was measured to. \
Written by `make reliability` (the quick rows) and `make check-long` (all); nothing here is written by hand. A row \
stays as it was measured until it is measured again. The threats behind the rows are in \
[SECURITY.md](../SECURITY.md).

"""


def load() -> list[str]:
    """Imports the modules with rows; their names, in the order of the table."""
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in ("__main__", "row"))
    for name in names:
        importlib.import_module(f"{package.__name__}.{name}")
    return names


def page(rows: dict[str, Row], modules: list[str]) -> str:
    """The document: a table for each module, headed by the first line of its documentation."""
    parts = [INTRODUCTION]
    for module in modules:
        doc = importlib.import_module(f"{package.__name__}.{module}").__doc__ or module
        mine = [rows[name] for name in MEASURES if name.startswith(f"{module}.") and name in rows]
        if mine:
            cells = [[r.claim, r.figure, "yes" if r.met else "**no**", f"`{r.command}`"] for r in mine]
            parts += [f"## {doc.splitlines()[0].rstrip('.')}\n\n", prose(["claim", "figure", "met", "command"], cells)]
    return "".join(parts).rstrip("\n") + "\n"


def prose(head: list[str], body: list[list[str]]) -> str:
    """A markdown table of words."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n\n"


def read(path: Path) -> dict[str, Row]:
    """The rows of earlier runs, by the name of their measure."""
    return {name: Row(**fields) for name, fields in json.loads(path.read_text()).items()} if path.exists() else {}


def main() -> int:
    """Command line."""
    modules = load()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the rows that take minutes or hours, too")
    parser.add_argument("--only", nargs="+", choices=sorted(MEASURES), metavar="NAME", help="these rows alone")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the page from the results")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    args = parser.parse_args()
    results = args.docs / "results" / "reliability.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    chosen = [m for m in MEASURES.values() if (m.name in args.only if args.only else args.long or m.quick)]
    if args.page:
        (args.docs / "RELIABILITY.md").write_text(page(read(results), modules))
        return 0
    short = 0
    for measure in chosen:
        try:
            found = measure.run()
        except LeftOutError as why:
            print(f"left out {measure.name}: {why}", flush=True)
            continue
        print(f"{'met' if found.met else 'NOT MET':8} {measure.name}: {found.figure}", flush=True)
        short += not found.met
        rows = {**read(results), measure.name: found}  # after each, so that a long run that is ended keeps its part
        rows = {name: rows[name] for name in MEASURES if name in rows}
        results.write_text(
            json.dumps({name: asdict(r) for name, r in rows.items()}, indent=1, ensure_ascii=False) + "\n"
        )
        (args.docs / "RELIABILITY.md").write_text(page(rows, modules))
    return 1 if short else 0


if __name__ == "__main__":
    raise SystemExit(main())
