"""``cwic info`` and ``cwic models``: what files and this installation hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from PIL import Image

from pillow_cwic import container, limits, models
from pillow_cwic.cli.files import FAILURES, SUFFIX, complaint, plan_files


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each file.")
def info(inputs: tuple[str, ...], as_json: bool) -> None:
    """Say what is in .cwic files, after checking all their checksums."""
    found, failed = [], False
    for source, _ in plan_files(inputs, None, {SUFFIX}, SUFFIX):
        try:
            found.append(_describe(source))
        except FAILURES as error:
            failed = True
            click.echo(complaint(source, error), err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for facts in found:
            click.echo(f"{facts['file']}:")
            for name, value in facts.items():
                if name != "file" and value not in (None, [], {}):
                    click.echo(f"  {name.replace('_', ' ')}: {_shown(value)}")
    sys.exit(int(failed))


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each model.")
def list_models(as_json: bool) -> None:
    """List the installed models."""
    found = [
        {"model": m.name, "tuning": m.tuning, "id": m.id.hex(), "sha256": m.sha256, "file": m.file}
        for m in models.released()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['model']} {each['tuning']}: id {each['id']}, {each['file']}")


def _describe(source: Path) -> dict[str, Any]:
    """What ``cwic info`` says. Raises OSError if the file cannot be read or is damaged."""
    with Image.open(source, formats=["CWIC"]) as im:
        facts = im.info
        im.verify()
    data = source.read_bytes()
    parsed = container.read_file(data)
    header = parsed.header
    limits.check_pixels(header.width, header.height)
    return {
        "file": str(source),
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bytes": len(data),
        "bpp": facts["bpp"],
        "model": facts["model"],
        "tuning": facts.get("tuning"),
        "rate_parameter": facts["rate_parameter"],
        "quality": facts["quality"],
        "tiles": header.tiles,
        "layer_bytes": [len(layer.data) for layer in parsed.layers],
        "alpha_bytes": None if parsed.alpha is None else len(parsed.alpha),
        "chunk_bytes": {kind.decode(): len(payload) for kind, payload in parsed.extra.items()},
        "dpi": facts.get("dpi"),
    }


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
