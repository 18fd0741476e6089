"""The frame of the scoreboard: what a run keeps, what it writes, and that every row is sound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability import __main__ as board
from benchmarks.reliability import row as rows
from benchmarks.reliability.row import Measure, Row

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Measure]:
    """A quick row that is met and a long one that is not, in the module of bit flips."""
    board.load()
    made: dict[str, Measure] = {}
    monkeypatch.setattr(rows, "MEASURES", made)
    monkeypatch.setattr(board, "MEASURES", made)
    made["damage.quick"] = Measure("damage.quick", True, lambda: Row("a | b", "1 of 1", "x", True))
    made["damage.slow"] = Measure("damage.slow", False, lambda: Row("c", "2 of 3", "y", False))
    return made


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reliability", *arguments])
    return board.main()


def test_a_quick_run_keeps_the_long_rows(
    measures: dict[str, Measure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, "--long", "--docs", str(tmp_path)) == 1
    text = (tmp_path / "RELIABILITY.md").read_text()
    assert "| a \\| b | 1 of 1 | yes | `x` |" in text and "| c | 2 of 3 | **no** | `y` |" in text
    measures["damage.quick"] = Measure("damage.quick", True, lambda: Row("a | b", "5 of 5", "x", True))
    assert run(monkeypatch, "--docs", str(tmp_path)) == 0
    text = (tmp_path / "RELIABILITY.md").read_text()
    assert "5 of 5" in text and "1 of 1" not in text and "2 of 3" in text
    assert run(monkeypatch, "--only", "damage.slow", "--docs", str(tmp_path)) == 1
    assert list(json.loads((tmp_path / "results" / "reliability.json").read_text())) == ["damage.quick", "damage.slow"]


def test_a_measure_that_is_left_out_keeps_its_row(
    measures: dict[str, Measure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without_tool() -> Row:
        raise rows.LeftOutError("no tool")

    run(monkeypatch, "--long", "--docs", str(tmp_path))
    measures["damage.slow"] = Measure("damage.slow", False, without_tool)
    assert run(monkeypatch, "--long", "--docs", str(tmp_path)) == 0
    assert "2 of 3" in (tmp_path / "RELIABILITY.md").read_text()


def test_rows_that_are_gone_are_dropped(
    measures: dict[str, Measure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(monkeypatch, "--long", "--docs", str(tmp_path))
    del measures["damage.slow"]
    run(monkeypatch, "--docs", str(tmp_path))
    assert "2 of 3" not in (tmp_path / "RELIABILITY.md").read_text()


def test_two_rows_of_one_name_are_refused(measures: dict[str, Measure]) -> None:
    def twice() -> Row:
        return Row("", "", "", True)

    rows.row(quick=True)(twice)
    assert rows.command(twice) == "python -m benchmarks.reliability --only test_reliability.twice"
    with pytest.raises(ValueError, match="two measures are called"):
        rows.row(quick=False)(twice)


def test_long_rows_end_when_their_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield (n := n + 1)

    monkeypatch.delenv("RELIABILITY_SECONDS", raising=False)
    assert rows.seconds() is None and len(list(rows.within_time(endless(), 100))) == 100
    monkeypatch.setenv("RELIABILITY_SECONDS", "0.05")
    assert 0 < len(list(rows.within_time(endless(), 10**12))) < 10**9


def test_the_document_is_what_the_results_say() -> None:
    modules = board.load()
    found = board.read(ROOT / "docs" / "results" / "reliability.json")
    assert found and set(found) <= set(rows.MEASURES)
    assert (ROOT / "docs" / "RELIABILITY.md").read_text() == board.page(found, modules)
