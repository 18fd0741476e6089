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
from pillow_cwic.file import container, limits
from pillow_cwic.tools.bulk import FAILURES, SUFFIX, cwic_bytes, format_of
from pillow_cwic.tools.cli.files import a_name, check_apart, find_files, for_inputs, picture_format
from pillow_cwic.tools.cli.places import check_free, complaint, file_of, printing, say, valid, write


@click.command(short_help="Say what is in .cwic files, and check them.")
@for_inputs
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each file.")
@click.option("--map", "output", type=a_name, metavar="FILE", help="Write a picture of how much was kept where.")
@click.option("-f", "--force", is_flag=True, help="Overwrite that picture.")
def info(inputs: tuple[str, ...], as_json: bool, output: str | None, force: bool) -> None:
    """Say what is in .cwic files, after checking all their checksums.

    INPUTS are files, folders (with all .cwic files in them), patterns such as '*.cwic', or - for standard input.

    With --map, show how much of one file was kept where: its importance map in translucent colour, from dark violet for
    little by red to light yellow for most, over the picture in grey.

    Exact blocks are coded pixel by pixel, as they are or in fewer colours, and with coarser samples if the sample step
    is above 1.

    \b
    cwic info photo.cwic
    cwic info photo.cwic --map map.png
    cwic info photos/ --json
    """
    found, failed = [], False
    sources = [source for source, _ in find_files(inputs, lambda: {SUFFIX}).files]
    target = None if output is None else Path(output)
    if target is not None:
        if len(sources) > 1:
            raise click.UsageError(f"--map: shows one file, not {len(sources)}")
        if output == "-":
            raise click.UsageError("--map: standard output is for the text, name a file")
        picture_format(target.suffix, f"--map {target}")
        check_apart(sources[0], target)
    for source in sources:
        try:
            data = cwic_bytes(file_of(source))
            found.append({"file": valid(str(source)), **_describe(data)})
            if target is not None:
                _write_map(data, target, force)
        except FAILURES as error:
            failed = True
            say(complaint(source, error), err=True)
    if as_json:
        _say_json(found)
    else:
        for facts in found:
            say(f"{facts['file']}:")
            for name, value in facts.items():
                if name != "file" and value not in (None, [], {}):
                    say(f"  {name.replace('_', ' ')}: {_shown(value)}")
    sys.exit(int(failed))


@click.command("models", short_help="List the models that are installed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each model.")
def list_models(as_json: bool) -> None:
    """List the models: those that came with the package, then those in the folders of PILLOW_CWIC_MODELS."""
    found = [
        {"model": m.name, "tuning": m.tuning, "id": m.id.hex(), "sha256": m.sha256, "file": valid(m.file)}
        for m in models.installed()
    ]
    if as_json:
        _say_json(found)
        return
    for each in found:
        say(f"{each['model']} {each['tuning']}: id {each['id']}, {each['file']}")


def _say_json(found: list[dict[str, Any]]) -> None:
    with printing():
        click.echo(json.dumps(found, indent=2))


def _describe(data: bytes) -> dict[str, Any]:
    """What ``cwic info`` says about a file. Raises OSError if it is damaged."""
    parsed = container.read_file(data)
    with Image.open(BytesIO(data[: len(data) - parsed.trailing]), formats=["CWIC"]) as im:
        facts = im.info
        im.verify()
    header, share, step = parsed.header, None, None
    limits.check_pixels(header.width, header.height)
    if parsed.pixels is not None and not header.lossless:
        from pillow_cwic.codec import exact

        share, step = exact.described(parsed.pixels, header.height, header.width, header.channels)
    return {
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bytes": len(data),
        "trailing_bytes": parsed.trailing or None,
        "bpp": facts["bpp"],
        "lossless": header.lossless,
        "model": facts.get("model"),
        "tuning": facts.get("tuning"),
        "rate_parameter": facts.get("rate_parameter"),
        "quality": facts.get("quality"),
        "exact_blocks": share,
        "sample_step": step,
        "tiles": None if header.lossless else header.tiles,
        "layer_bytes": [len(layer.data) for layer in parsed.layers],
        "pixel_bytes": None if parsed.pixels is None else len(parsed.pixels),
        "post_filter_bytes": None if parsed.post is None else len(parsed.post),
        "alpha_bytes": None if parsed.alpha is None else len(parsed.alpha),
        "chunk_bytes": {kind.decode(): len(payload) for kind, payload in parsed.extra.items()},
        "dpi": facts.get("dpi"),
    }


def _write_map(source: bytes, target: Path, force: bool) -> None:
    """Writes a file's picture under its map. Raises OSError."""
    from pillow_cwic.tools.compare.heat import overlaid

    check_free(target, force)
    with Image.open(BytesIO(source), formats=["CWIC"]) as im:
        assert isinstance(im, plugin.CwicImageFile)
        levels = im.importance_map(im.size)
        shown = overlaid(im, levels)
    data = BytesIO()
    shown.save(data, format_of(target.suffix.lower()))
    write(target, data.getvalue(), force)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
