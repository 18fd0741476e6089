"""Collections on a Ray cluster: ``encode_dataset`` and ``decode_dataset``. Needs ``pip install pillow-cwic[ray]``.

Ray Data hands the pictures out to actors that hold the model; an actor that dies is replaced, and its pictures are
done again, those that it had finished excepted. Files are there whole or not at all, so that a run that was ended goes
on where it stopped: what is there and whole is passed over.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.fs
import ray
import ray.data

from pillow_cwic import models, settings
from pillow_cwic.file import atomic
from pillow_cwic.progress import Progress, shown
from pillow_cwic.saving import Options
from pillow_cwic.tools import bulk

__all__ = ["Failure", "Report", "decode_dataset", "encode_dataset"]

PICTURES_A_TASK = 16  # at most; more cost less to hand out, but are done again together if their actor dies
TRIES = 2  # of a task whose actor dies
WRITES_AT_ONCE = ("s3", "gcs", "abfs")  # an object appears when its upload has ended, and whole

Row = dict[str, Any]


class Failure(NamedTuple):
    """A picture that was not converted, and why."""

    source: str
    reason: str


class Report(NamedTuple):
    """What became of a collection: how many pictures were converted, how many were there, and which failed."""

    done: int
    skipped: int
    failures: list[Failure]
    bytes: int  # of the files made

    @property
    def total(self) -> int:
        """How many pictures there were."""
        return self.done + self.skipped + len(self.failures)


def encode_dataset(
    source: str | Path,
    output: str | Path,
    *,
    strip: bool = False,
    frame: int | None = None,
    workers: int | None = None,
    gpus: float | None = None,
    progress: bool | Progress | None = None,
    **save: Any,
) -> Report:
    """A ``.cwic`` file below ``output`` for every picture below ``source`` that Pillow can open.

    Both are folders that all nodes see, or ``s3://``, ``gs://``, ``abfs://`` or ``hdfs://`` paths. ``save`` are the
    options of ``im.save`` (docs/OPTIONS.md), ``strip`` leaves EXIF, XMP and resolution out, ``frame`` picks one
    page or frame, counted from 0, without which files with several fail. ``workers`` is how many
    actors may run at once, a GPU or else a core each if it is not given; ``gpus`` is the share of a GPU that each
    takes, 1 if the cluster has any. ``progress`` counts the pictures. Ray is started if it does not run.

    Pictures whose file is there and whole are skipped, those that fail are listed in the report. Raises ValueError
    for options out of range, FileNotFoundError for a ``source`` that is not there, and ValueError if two pictures
    would become one file.
    """
    options = Options.of(save)
    models.by_name(options.model, options.tuning)
    recipe = bulk.Recipe({**save, "format": "CWIC"}, strip, frame=frame)
    wanted = bulk.suffixes() - {bulk.SUFFIX}
    return _run(str(source), str(output), wanted, bulk.SUFFIX, recipe, workers, gpus, progress)


def decode_dataset(
    source: str | Path,
    output: str | Path,
    *,
    to: str = "png",
    strip: bool = False,
    workers: int | None = None,
    gpus: float | None = None,
    progress: bool | Progress | None = None,
    **save: Any,
) -> Report:
    """A file of the format ``to`` below ``output`` for every ``.cwic`` file below ``source``.

    ``save`` are the options of ``im.save`` in that format; all else is as in ``encode_dataset``.
    """
    suffix = "." + to.lower().removeprefix(".")
    if (name := bulk.format_of(suffix)) is None:
        raise ValueError(f"to: {to!r} is no format that Pillow writes")
    recipe = bulk.Recipe({**save, "format": name}, strip)
    return _run(str(source), str(output), {bulk.SUFFIX}, suffix, recipe, workers, gpus, progress)


def _run(
    source: str,
    output: str,
    wanted: set[str],
    suffix: str,
    recipe: bulk.Recipe,
    workers: int | None,
    gpus: float | None,
    progress: bool | Progress | None,
) -> Report:
    todo = _plan(source, output, wanted, suffix)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    pool = _pool(workers, gpus)
    found: dict[str, Row] = {}
    with shown(settings.progress(progress), "converting") as call:
        # What has no row after the first pass was in a task whose actor died again and again. The second pass does
        # each picture by itself, so that only the one that is to blame fails.
        for pictures in (PICTURES_A_TASK, 1):
            left = [row for row in todo if row["source"] not in found]
            for row in _rows(left, pictures, recipe, pool):
                found[row["source"]] = row
                if call:
                    call(len(found), len(todo))
    failures = []
    for planned in todo:
        source = planned["source"]
        if source not in found:
            failures.append(Failure(source, f"its process died, {2 * TRIES} times"))
        elif found[source]["error"]:
            failures.append(Failure(source, found[source]["error"]))
    made = [row for row in found.values() if not row["error"]]
    skipped = sum(row["skipped"] for row in made)
    return Report(len(made) - skipped, skipped, failures, sum(row["bytes"] for row in made if not row["skipped"]))


def _plan(source: str, output: str, wanted: set[str], suffix: str) -> list[Row]:
    """A row for each picture: its file, the file to make, and whether that was there before this run."""
    files, root = _filesystem(source)
    if files.get_file_info(root).type == pyarrow.fs.FileType.NotFound:
        raise FileNotFoundError(f"{source}: not there")
    there = set(_below(*_filesystem(output)))
    rows: dict[str, Row] = {}
    for below in sorted(_below(files, root)):
        stem, ending = posixpath.splitext(below)
        if ending.lower() not in wanted:
            continue
        if (other := rows.get(stem)) is not None:
            raise ValueError(f"{other['source']} and {source}/{below} would both become {stem}{suffix}")
        rows[stem] = {
            "source": f"{source.rstrip('/')}/{below}",
            "target": f"{output.rstrip('/')}/{stem}{suffix}",
            "existed": stem + suffix in there,
        }
    return list(rows.values())


def _below(files: pyarrow.fs.FileSystem, root: str) -> Iterator[str]:
    """The files below a folder, by their paths within it."""
    selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
    for info in files.get_file_info(selector):
        if info.type == pyarrow.fs.FileType.File:
            yield posixpath.relpath(info.path, root)


def _filesystem(path: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a path or URI, and the path in it."""
    files, inside = pyarrow.fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_posix())
    return files, inside


def _pool(workers: int | None, gpus: float | None) -> dict[str, Any]:
    """The actors' number and share of the cluster, as arguments of ``map_batches``. Raises ValueError."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers: {workers!r} is not a whole number above 0")
    if gpus is not None and not 0 <= gpus <= 1:
        raise ValueError(f"gpus: {gpus!r} is not a number from 0 to 1")
    cluster = ray.cluster_resources()
    share = gpus if gpus is not None else float(cluster.get("GPU", 0) > 0)
    room = cluster.get("GPU", 0) / share if share else cluster.get("CPU", 1)
    most = max(1, int(room)) if workers is None else workers
    pool: dict[str, Any] = {"compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most), "num_cpus": 1}
    return {**pool, "num_gpus": share} if share else pool


def _rows(todo: Sequence[Row], pictures: int, recipe: bulk.Recipe, pool: dict[str, Any]) -> Iterator[Row]:
    """Rows of what became of the pictures; none of those whose task failed for good."""
    if not todo:
        return
    share = -(-len(todo) // (4 * pool["compute"].max_size))  # so that no actor waits long for the last
    tasks = -(-len(todo) // max(1, min(pictures, share)))
    context = ray.data.DataContext.get_current()
    before = context.max_errored_blocks
    context.max_errored_blocks = -1  # the others go on
    try:
        dataset = ray.data.from_items(list(todo), override_num_blocks=tasks).map_batches(
            _Converter,
            fn_constructor_args=(recipe, bool(pool.get("num_gpus"))),
            batch_size=None,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            **pool,
        )
        yield from dataset.iter_rows()
    finally:
        context.max_errored_blocks = before


class _Converter:
    """What an actor does. It keeps the model from picture to picture, as every process does."""

    def __init__(self, recipe: bulk.Recipe, gpu: bool) -> None:
        self._recipe = recipe._replace(threads=1, device=None if gpu else "cpu")

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        for source, target, existed in zip(batch["source"], batch["target"], batch["existed"], strict=True):
            row: Row = {"source": str(source), "skipped": False, "error": "", "bytes": 0}
            try:
                row["bytes"], was_there = self._convert(str(source), str(target))
                row["skipped"] = bool(existed) and was_there
            except Exception as error:  # whatever Pillow's plugins raise at a damaged file: the others go on
                row["error"] = bulk.reason(error)
            yield {name: [value] for name, value in row.items()}

    def _convert(self, source: str, target: str) -> tuple[int, bool]:
        """Bytes of the file, and whether it was there and whole: made before this run, or by an actor that died."""
        there = _read(target)
        if there is not None and bulk.is_whole(BytesIO(there), self._recipe.save["format"]):
            return len(there), True
        data = _read(source)
        if data is None:
            raise FileNotFoundError(f"{source}: not there")
        made = bulk.convert(BytesIO(data), self._recipe)
        _write(target, made.data)
        return len(made.data), False


def _read(path: str) -> bytes | None:
    """The bytes of a file; None if it is not there."""
    files, inside = _filesystem(path)
    if files.get_file_info(inside).type != pyarrow.fs.FileType.File:
        return None
    with files.open_input_stream(inside, compression=None) as stream:
        return bytes(stream.read())


def _write(path: str, data: bytes) -> None:
    """Writes a file, which is there whole or not at all."""
    files, inside = _filesystem(path)
    if files.type_name == "local":
        Path(inside).parent.mkdir(parents=True, exist_ok=True)
        atomic.write(inside, data)
        return
    at_once = files.type_name in WRITES_AT_ONCE
    files.create_dir(posixpath.dirname(inside), recursive=True) if not at_once else None
    written = inside if at_once else f"{inside}.tmp"
    with files.open_output_stream(written, compression=None) as stream:
        stream.write(data)
    if not at_once:
        files.move(written, inside)
