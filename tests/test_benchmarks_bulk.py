"""What a million photographs cost, and the command that runs all benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bulk, everything

ROOT = Path(__file__).resolve().parents[1]


def test_a_million_photographs() -> None:
    own, peer = bulk.Cost("CWIC ssim", 0.05, 1e-6, 5e-7, 0.95), bulk.Cost("AVIF speed 4", 0.1, 5e-7, 1e-7, 0.95)
    text = bulk.report([own, peer], "two", megapixels=10, photos=1_000_000, core_hour=0.36, gb_month=0.01)
    lines = text.splitlines()
    assert "| AVIF speed 4 | 0.50 | 2.00 | 5.00 |" in lines
    assert "| CWIC ssim | 0.9500 | 0.400 | 360 | 720 | not measured |" in lines  # 10 s and 5 s a photograph
    # 2,778 core hours at .36 are 1,000, twice AVIF's; 500 GB less at .01 are 5 a month: 100 months
    assert "| CWIC ssim | 2,778 | 1,000 | 500 | 5.00 | 0.00 | – |" in lines
    assert "| AVIF speed 4 | 1,389 | 500 | 1,000 | 10.00 | 5.00 | 100.0 |" in lines
    worse = bulk.report([peer, own], "two", 10, 1_000_000, 0.36, 0.01).splitlines()
    assert any(line.startswith("| CWIC ssim | 2,778") and line.endswith("at once, by encoding |") for line in worse)


def test_runs_are_kept_and_shown(tmp_path: Path) -> None:
    row = {"benchmark": "speed", "minutes": "1.5", "outcome": "done", "machine": "a CPU, 2 cores", "torch": "2"}
    everything.write(tmp_path / "runs.csv", {"speed": row})
    assert everything.read(tmp_path / "runs.csv") == {"speed": row}
    text = everything.gathered(f"a\n{everything.BEGIN}old\n{everything.END}b\n", {"speed": row})
    assert "| speed | 1.5 | done | a CPU, 2 cores | 2 |" in text and "old" not in text
    assert text.startswith("a\n") and text.endswith("b\n")
    assert everything.gathered(text, {"speed": row}) == text
    with pytest.raises(ValueError, match="no marks"):
        everything.gathered("nothing", {})


def test_everything_is_there() -> None:
    for name in everything.ORDER:
        assert (ROOT / "benchmarks" / f"{name}.py").exists()
    assert everything.gathered((ROOT / "docs" / "BENCHMARKS.md").read_text(), {})
