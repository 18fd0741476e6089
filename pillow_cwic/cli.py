"""The command ``cwic``. Exit codes: 0 all done, 1 something failed (a line each on stderr), 2 wrong usage."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from PIL import ExifTags, Image, ImageOps

import pillow_cwic
from pillow_cwic import atomic, autoload, container, limits, metadata, models
from pillow_cwic.target import DEFAULT_EFFORT, parse_target

SUFFIX = ".cwic"
FAILURES = (OSError, ValueError, MemoryError, Image.DecompressionBombError)  # what a picture may do; the rest is a bug
Command = TypeVar("Command", bound=Callable[..., Any])


class Job(NamedTuple):
    """One file to make; the fields behind the files are options of the command, ``save`` those of Image.save."""

    source: Path
    target: Path
    save: dict[str, Any]
    strip: bool
    force: bool
    device: str | None
    threads: int | None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pillow_cwic.__version__, package_name="pillow_cwic")
def main() -> None:
    """Content-weighted image compression."""


def _for_files(command: Command) -> Command:
    """The options that ``encode`` and ``decode`` share."""
    for option in reversed([
        click.argument("inputs", nargs=-1, required=True, metavar="INPUTS..."),
        click.option("-o", "--output", help="File, or folder for several inputs."),
        click.option("--strip", is_flag=True, help="Leave EXIF, XMP and resolution out, and turn upright."),
        click.option("-f", "--force", is_flag=True, help="Overwrite files."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, help="Files at a time."),
        click.option("--device", help="Where the networks run: cpu, cuda, cuda:1, mps, xpu."),
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads for one file."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]):  # fmt: skip
        command = option(command)
    return command


@main.command()
@_for_files
@click.option("--rate", type=float, help="At most so many bits per pixel.")
@click.option("--size", type=int, help="At most so many bytes.")
@click.option("--quality", type=int, help="1 to 100; 50 if nothing is given.")
@click.option("--model", default="cwic1", show_default=True)
@click.option("--tuning", help="mse, or ssim for structural similarity; mse if nothing is given.")
@click.option("--effort", type=click.IntRange(0, 9), default=DEFAULT_EFFORT, show_default=True, help="Time to search.")
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quiet: bool,
    jobs: int,
    model: str,
    tuning: str | None,
    effort: int,
    **options: Any,
) -> None:
    """Make .cwic files of pictures that Pillow can open.

    INPUTS are files, folders (with all that is in them) and patterns such as '*.jpg'. A file is written beside its
    source unless -o says where. Metadata is kept.
    """
    target = {name: options.pop(name) for name in ("rate", "size", "quality")}
    with _usage_errors():
        parse_target(**target)
        models.by_name(model, tuning)
    save = {"format": "CWIC", "model": model, "tuning": tuning, "effort": effort, **target}
    Image.init()
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN} - {SUFFIX}
    plan = _plan(inputs, output, suffixes, SUFFIX)
    _run([Job(*each, save, **options) for each in plan], jobs, quiet)


@main.command()
@_for_files
@click.option("--to", "suffix", default="png", show_default=True, help="Format, where -o does not name it.")
def decode(inputs: tuple[str, ...], output: str | None, quiet: bool, jobs: int, suffix: str, **options: Any) -> None:
    """Make other files of .cwic files.

    INPUTS are files, folders (with all .cwic files in them) and patterns such as '*.cwic'. A file is written beside
    its source unless -o says where. Metadata is kept where the other format has a place for it.
    """
    suffix = "." + suffix.lower().removeprefix(".")
    Image.init()
    formats = {suffix: name for suffix, name in Image.registered_extensions().items() if name in Image.SAVE}
    if suffix not in formats:
        raise click.UsageError(f"--to: {suffix} is no format that Pillow writes")
    plan = _plan(inputs, output, {SUFFIX}, suffix)
    for _, target in plan:
        if target.suffix.lower() not in formats:
            raise click.UsageError(f"{target}: {target.suffix or 'no suffix'} is no format that Pillow writes")
    todo = [Job(*each, {"format": formats[each[1].suffix.lower()]}, **options) for each in plan]
    _run(todo, jobs, quiet)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object for each file.")
def info(inputs: tuple[str, ...], as_json: bool) -> None:
    """Say what is in .cwic files, after checking all their checksums."""
    found, failed = [], False
    for source, _ in _plan(inputs, None, {SUFFIX}, SUFFIX):
        try:
            found.append(_describe(source))
        except FAILURES as error:
            failed = True
            click.echo(_complaint(source, error), err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for facts in found:
            click.echo(f"{facts['file']}:")
            for name, value in facts.items():
                if name != "file" and value not in (None, [], {}):
                    click.echo(f"  {name.replace('_', ' ')}: {_shown(value)}")
    sys.exit(int(failed))


@main.command("models")
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


@main.command("autoload")
@click.argument("action", type=click.Choice(["status", "enable", "disable"]))
def manage_autoload(action: str) -> None:
    """Switch the start-up hook, by which Pillow opens .cwic without an import of pillow_cwic, on or off."""
    try:
        if action == "status":
            click.echo(autoload.status())
        else:
            verb, change = ("wrote", autoload.enable) if action == "enable" else ("removed", autoload.disable)
            for path in change():
                click.echo(f"{verb} {path}")
    except OSError as error:
        click.echo(_complaint(Path(error.filename or "autoload"), error), err=True)
        sys.exit(1)


def _plan(inputs: tuple[str, ...], output: str | None, suffixes: set[str], suffix: str) -> list[tuple[Path, Path]]:
    """(source, target) for every file that the inputs name. Raises click's errors if they make no sense."""
    found: list[tuple[Path, Path]] = []  # with the place below the output folder
    several = len(inputs) > 1
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            several = True
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
            found += [(p, p.relative_to(path)) for p in inside]
        elif path.exists() or not glob.has_magic(text):
            found.append((path, Path(path.name)))
        else:
            several = True
            matches = sorted(Path(name) for name in glob.glob(text, recursive=True))
            found += [(p, Path(p.name)) for p in matches if p.is_file()]
    if not found:
        raise click.UsageError(f"no files in {' '.join(inputs)}")
    if output is None:
        plan = [(source, source.with_suffix(suffix)) for source, _ in found]
    elif several or os.path.isdir(output) or output.endswith(("/", os.sep)):
        plan = [(source, output / below.with_suffix(suffix)) for source, below in found]
    else:
        plan = [(found[0][0], Path(output))]
    sources: dict[Path, Path] = {}
    for source, target in plan:
        if (other := sources.setdefault(target, source)) != source:
            raise click.UsageError(f"{other} and {source} would both become {target}")
    return plan


def _run(todo: list[Job], workers: int, quiet: bool) -> None:
    """Does all jobs and ends the program."""
    failed = False
    for job in todo:
        with _usage_errors(), pillow_cwic.options(device=job.device, threads=job.threads):
            pass
    with_bar = not quiet and len(todo) > 1 and sys.stderr.isatty()
    late: list[str] = []  # what must wait for the bar to end
    with click.progressbar(length=len(todo), file=sys.stderr, hidden=not with_bar) as bar:
        for job, outcome in _outcomes(todo, min(workers, len(todo))):
            failed = failed or isinstance(outcome, Exception)
            report = _complaint(job.source, outcome) if isinstance(outcome, Exception) else outcome
            if with_bar:
                late.append(report)
            elif isinstance(outcome, Exception) or not quiet:
                click.echo(report, err=isinstance(outcome, Exception))
            bar.update(1)
    for report in late:
        click.echo(report, err=True)
    sys.exit(int(failed))


def _outcomes(todo: list[Job], workers: int) -> Iterator[tuple[Job, str | Exception]]:
    if workers == 1:
        for job in todo:
            yield job, _attempt(job)
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[str | Exception], Job] = {}
        for job in todo:
            waiting[pool.submit(_attempt, job if job.threads else job._replace(threads=share))] = job
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _attempt(job: Job) -> str | Exception:
    """Makes one file: what to print about it, or what went wrong."""
    try:
        if not job.force and job.target.exists():  # before the work; atomic.write looks again after it
            raise FileExistsError(f"{job.target} exists already, --force overwrites it")
        with Image.open(job.source) as im, pillow_cwic.options(device=job.device, threads=job.threads):
            im.load()
            picture = _upright(im) if job.strip else im
            data = BytesIO()
            picture.save(data, **_metadata(im, job), **job.save)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(job.target, data.getvalue(), overwrite=job.force)
    except FAILURES as error:
        return error
    size = data.getbuffer().nbytes
    return f"{job.source} -> {job.target}: {size} bytes, {8 * size / (im.width * im.height):.3f} bpp"


def _upright(im: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(im)
    except SyntaxError:  # EXIF that cannot be read
        return im


def _metadata(im: Image.Image, job: Job) -> dict[str, Any]:
    """The options of ``save`` that carry over a picture's metadata."""
    found: dict[str, Any] = {}
    if job.save["format"] != "CWIC":  # which carries it over itself, if it fits
        found["icc_profile"] = im.info.get("icc_profile")
    if not job.strip:
        found |= {"exif": im.info.get("exif"), "xmp": im.info.get("xmp")}
        if found["exif"] is None and (orientation := im.getexif().get(ExifTags.Base.Orientation, 1)) != 1:
            exif = Image.Exif()  # said elsewhere in the file, by XMP for one
            exif[ExifTags.Base.Orientation] = orientation
            found["exif"] = exif
        with suppress(ValueError):  # some formats say in numbers that they do not know
            found["dpi"] = metadata.parse_dpi(im.info.get("dpi"))
    return {name: value for name, value in found.items() if value}


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


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _complaint(source: Path, error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return f"cwic: {source}: {' '.join(text.split())}"


if __name__ == "__main__":
    main()
