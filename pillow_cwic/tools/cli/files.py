"""What the commands share: their options, and which files to read and write."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from pillow_cwic.saving import misnamed
from pillow_cwic.tools.bulk import SUFFIX, format_of, suffixes
from pillow_cwic.tools.cli.places import Place, Stream, source_of, target_of

__all__ = ["a_name", "check_apart", "check_cwic", "check_local", "find_files", "for_files", "for_frame",
           "for_inputs", "for_model", "for_networks", "for_output", "for_size", "for_target", "picture_format",
           "plan_files", "usage_errors"]  # fmt: skip

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # what they begin with
Command = TypeVar("Command", bound=Callable[..., Any])


def a_name(text: str) -> str:
    """The type of a parameter that names something: an empty path would stand for the current folder."""
    if not text:
        raise click.BadParameter("an empty name")
    return text


def _all(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator of several, which the help shows in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


for_inputs = click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...", type=a_name)
for_frame = click.option(
    "--frame", type=click.IntRange(0), metavar="N", help="Which page or frame of a file with several; the first is 0."
)
for_networks = _all(
    click.option(
        "--device", type=a_name, metavar="NAME", show_default="the best",
        help="Where to compute: cpu, cuda, cuda:1, xpu.",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N", show_default="all cores", help="Threads for a picture."
    ),
)  # fmt: skip
for_output = _all(
    click.option("-f", "--force", is_flag=True, help="Overwrite files that exist."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
)
# What encode and decode share.
for_files = _all(
    for_inputs,
    click.option("-o", "--output", type=a_name, metavar="FILE|FOLDER", help="Where to write; - is standard output."),
    click.option("--strip", is_flag=True, help="Leave EXIF, XMP and resolution out, and turn the picture upright."),
    for_output,
    click.option("--skip-existing", is_flag=True, help="Pass over files that are made already and whole: go on."),
    click.option(
        "-j", "--jobs", type=click.IntRange(1, 256), default=1, metavar="N", show_default=True,
        help="Files at a time, in a process each.",
    ),
    for_networks,
)  # fmt: skip
for_size = _all(
    click.option("--size", type=int, metavar="BYTES", help="At most so many bytes in all."),
    click.option("--rate", type=float, metavar="BPP", help="At most so many bits per pixel, metadata aside."),
)
# How large or how good a file shall be, at most one of which may be given.
for_target = _all(
    click.option("-q", "--quality", type=int, metavar="1-100", help="How good, on the model's own scale: 50 if "
                 "neither this nor one of the next four is given."),
    for_size,
    click.option("--psnr", type=float, metavar="DB", help="The smallest file of at least this PSNR, 10 to 60."),
    click.option("--ssim", type=float, metavar="SSIM", help="The smallest file of at least this SSIM, 0 to 1."),
)  # fmt: skip


for_model = _all(  # which, and how
    click.option(
        "--effort", type=click.IntRange(0, 9), default=3, metavar="0-9", show_default=True,
        help="More makes smaller files, in more time; from 5 on in minutes, with torch.",
    ),
    click.option(
        "--tuning", type=click.Choice(["mse", "ssim"]), show_default="ssim; mse with --psnr",
        help="What to keep: structure, as eyes do (ssim), or the values of the pixels (mse).",
    ),
    click.option(
        "--model", type=a_name, default="cwic1", show_default=True, metavar="NAME",
        help="One of those that cwic models lists.",
    ),
)  # fmt: skip


@contextmanager
def usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


class Found(NamedTuple):
    """The inputs, each once, with their places below an output folder, and whether there may be several."""

    files: list[tuple[Place, Path]]
    several: bool


def find_files(inputs: tuple[str, ...], wanted: Callable[[], set[str]]) -> Found:
    """What the inputs name; of folders, the files with one of the suffixes ``wanted()``. Raises click's errors."""
    inputs = tuple(dict.fromkeys(inputs))
    several = len(inputs) > 1
    if "-" in inputs:
        if several:
            raise click.UsageError("- is standard input, which can only be the one input")
        return Found([(source_of("-"), Path("-"))], False)
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        check_local(name)
        path = Path(name)
        if os.path.isdir(name):
            several = True
            endings = wanted()
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings and _is_input(p))
            found += [(p, p.relative_to(path)) for p in inside]
        elif os.path.exists(name) or not glob.has_magic(name):
            found.append((path, Path(path.name)))
        else:
            several = True
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True) if _is_input(p))
            found += [(p, Path(p.name)) for p in matches]
    if not found:
        raise click.UsageError(f"no files in {' '.join(inputs)}")
    once: dict[str, tuple[Place, Path]] = {}  # by a name that is the same however the file is named
    for path, below in found:
        once.setdefault(os.path.join(os.path.realpath(path.parent), path.name), (path, below))
    return Found(list(once.values()), several)


def _is_input(path: str | Path) -> bool:
    """Whether it is a file, or a link to nothing, which reading it will tell."""
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))


def check_local(name: str) -> None:
    """Raises click's error for an input that is the address of a file elsewhere."""
    if ADDRESS.match(name) and not os.path.lexists(name):
        way = f"curl -L {shlex.quote(name)} | cwic {click.get_current_context().info_name} -"
        raise click.UsageError(f"{name}: addresses are not read, but what another program gets: {way}")


def plan_files(
    inputs: tuple[str, ...],
    output: str | None,
    wanted: Callable[[], set[str]],
    suffix: str,
    check: Callable[[Path], object],
    *,
    in_place: bool = False,
) -> list[tuple[Place, Place]]:
    """(source, target) for every file that the inputs name; of folders, those with one of ``wanted()``.

    ``check`` raises click's UsageError for a file name that is not fit for what is written. The rest are click's
    errors if they make no sense: a target that is a source, unless ``in_place`` allows its own, or of two sources.
    """
    found, several = find_files(inputs, wanted)
    if output is None and found[0][0] is Stream.INPUT:
        output = "-"
    if output == "-":
        if several:
            raise click.UsageError("-o -: standard output takes one file, not several")
        return [(found[0][0], target_of("-"))]
    plan: list[tuple[Place, Place]]
    if output is None:
        plan = [(source, source.with_suffix(suffix)) for source, _ in found if isinstance(source, Path)]
    elif os.path.isdir(output) or output.endswith(("/", os.sep)) or several:
        if found[0][0] is Stream.INPUT:
            raise click.UsageError(f"-o {output}: standard input has no name for a file in a folder, name the file")
        _check_folder(output)
        plan = [(source, Path(output) / below.with_suffix(suffix)) for source, below in found]
    else:
        check(Path(output))
        return _apart([(found[0][0], Path(output))], in_place)
    sources: dict[Place, Place] = {}
    for source, target in plan:
        if (other := sources.setdefault(target, source)) != source:
            apart = f"take them apart, as {_like(other)} and {_like(source)} do, with -o and a folder for each"
            raise click.UsageError(f"{other} and {source} would both become {target}: {apart}")
    return _apart(plan, in_place)


def _like(source: Place) -> str:
    """A pattern for the files of the same folder and ending."""
    path = Path(str(source))
    return f"'{path.with_name('*' + path.suffix)}'"


def _check_folder(output: str) -> None:
    """Raises click's error for what is meant as a file where a folder is needed."""
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return
    if os.path.exists(output):
        raise click.UsageError(f"-o {output}: is a file, several inputs need a folder")
    if Path(output).suffix.lower() in suffixes():
        raise click.UsageError(f"-o {output}: several inputs need a folder; if that is its name, say {output}/")


def _apart(plan: Sequence[tuple[Place, Place]], in_place: bool) -> list[tuple[Place, Place]]:
    sources = {_identity(source): source for source, _ in plan}
    for source, target in plan:
        known = _identity(target)
        if known and known in sources and not (in_place and sources[known] == source):
            named = "" if str(sources[known]) == str(target) else f" {sources[known]}"
            raise click.UsageError(f"{target}: is the input{named} itself, name another output")
    return list(plan)


def check_apart(source: Place, target: Place) -> None:
    """Raises click's error if both are one file, be it by links."""
    _apart([(source, target)], False)


def _identity(place: Place) -> tuple[int, int] | None:
    """What all names of a file share; None if there is none."""
    try:
        facts = os.stat(place) if isinstance(place, Path) else None
    except (OSError, ValueError):
        return None
    return facts and (facts.st_dev, facts.st_ino)


def check_cwic(target: Path) -> None:
    """Raises click's error if the name is none of a CWIC file."""
    if target.suffix.lower() != SUFFIX:
        folder = "" if target.suffix else f", or {target}/ for a new folder"
        raise click.UsageError(f"-o {misnamed(target)}{folder}")


def picture_format(suffix: str, where: str) -> str:
    """Pillow's name of the format of a picture to write, other than CWIC. Raises click's error if there is none."""
    if (name := format_of(suffix.lower())) is None:
        raise click.UsageError(f"{where}: {suffix or 'no suffix'} is no format that Pillow writes")
    if name == "CWIC":
        raise click.UsageError(f"{where}: not made here, as cwic encode and cwic shrink do: choose one such as .png")
    return name
