"""Many threads at a time, and processes that fork."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.reliability import concurrency

ROOT = Path(__file__).resolve().parents[1]


def test_threads_that_decode_their_own_pictures() -> None:
    assert concurrency.mismatches(threads=40, rounds=2) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_decodes_after_one_thread_did() -> None:
    assert concurrency.after_fork(1) == "the same pixels"


def test_the_documentation_says_to_use_spawn() -> None:
    assert 'get_context("spawn")' in (ROOT / "docs" / "FAQ.md").read_text()
