"""Shared fixtures: photographs, and one small file made from one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

import pillow_cwic

DATA = Path(__file__).parent / "data"

# No deadlines: machines are slow at times.
settings.register_profile("default", deadline=None)
# For mutation testing, where every mutant runs them: few examples, and always the same.
settings.register_profile("mutation", max_examples=20, deadline=None, derandomize=True, database=None)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def registered() -> None:
    """Every test starts with the plugin registered, whatever the one before it did."""
    pillow_cwic.register()


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A whole Kodak photograph, 768 x 512 RGB."""
    with Image.open(DATA / "kodim23.png") as im:
        return im.convert("RGB")


@pytest.fixture(scope="session")
def small(photo: Image.Image) -> Image.Image:
    """A photograph of 100 x 75 pixels: no multiple of anything."""
    return photo.resize((100, 75), Image.Resampling.LANCZOS)


@pytest.fixture(scope="session")
def small_file(small: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """``small`` as a .cwic file of about 600 bytes."""
    pillow_cwic.register()
    path = tmp_path_factory.mktemp("files") / "small.cwic"
    small.save(path, rate=0.6)
    return path.read_bytes()
