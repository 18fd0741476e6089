"""``cwic info`` and ``cwic models``: what files and this installation hold."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import click
from PIL import Image

from pillow_cwic import models, plugin
from pillow_cwic.file import atomic, container, limits
from pillow_cwic.tools.cli.files import FAILURES, SUFFIX, complaint, plan_files


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each file.")
@click.option("--map", "target", type=click.Path(path_type=Path), help="Write a file's picture under its map here.")
@click.option("-f", "--force", is_flag=True, help="Overwrite that picture.")
def info(inputs: tuple[str, ...], as_json: bool, target: Path | None, force: bool) -> None:
    """Say what is in .cwic files, after checking all their checksums.

    With --map, show where the bits of one file went: its importance map in translucent colour, from dark violet for
    few by red to light yellow for many, over the picture in grey.
    """
    found, failed = [], False
    sources = [source for source, _ in plan_files(inputs, None, lambda: {SUFFIX}, SUFFIX)]
    if target is not None:
        Image.init()
        if len(sources) > 1:
            raise click.UsageError(f"--map: shows one file, not {len(sources)}")
        if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
            raise click.UsageError(f"--map: {target.suffix or 'no suffix'} is no format that Pillow writes")
    for source in sources:
        try:
            found.append(_describe(source))
            if target is not None:
                _write_map(source, target, force)
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
    """List the models: those that came with the package, then those in the folders of PILLOW_CWIC_MODELS."""
    found = [
        {"model": m.name, "tuning": m.tuning, "id": m.id.hex(), "sha256": m.sha256, "file": m.file}
        for m in models.installed()
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


def _write_map(source: Path, target: Path, force: bool) -> None:
    """Writes a file's picture under its map. Raises OSError."""
    from pillow_cwic.tools.compare.heat import overlaid

    if not force and target.exists():
        raise FileExistsError(f"{target} exists already, --force overwrites it")
    with Image.open(source, formats=["CWIC"]) as im:
        assert isinstance(im, plugin.CwicImageFile)
        levels = im.importance_map(im.size)
        shown = overlaid(im, levels)
    data = BytesIO()
    shown.save(data, Image.registered_extensions()[target.suffix.lower()])
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(target, data.getvalue(), overwrite=force)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
