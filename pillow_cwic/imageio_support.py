"""Makes imageio know the extension, without importing imageio: at once if it is loaded, else when it gets loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # importing them takes longer than all the rest here
    Loader = MetaPathFinder = object

MODULE = "imageio.config.extensions"  # the module that holds imageio's table of file extensions


def _add(table: ModuleType, extension: str, name: str) -> None:
    entry: Any = table.FileExtension(name=name, extension=extension, priority=["pillow"])
    if extension not in table.known_extensions:
        table.known_extensions[extension] = [entry]
        table.extension_list.append(entry)


class _Finder(MetaPathFinder):
    """Adds the extension right after imageio's own module ran, then steps aside."""

    def __init__(self, extension: str, name: str) -> None:
        self.extension, self.name = extension, name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Then(spec.loader, self)
        return spec


class _Then(Loader):
    """A loader that runs another and then fills in the extension."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
            _add(module, self.finder.extension, self.finder.name)


def register(extension: str, name: str) -> None:
    """Makes imageio read and write ``extension`` through Pillow. May be called any number of times."""
    if MODULE in sys.modules:
        _add(sys.modules[MODULE], extension, name)
    elif not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder(extension, name))


def unregister(extension: str) -> None:
    """Undoes ``register()``."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Finder)]
    if MODULE in sys.modules:
        table = sys.modules[MODULE]
        for entry in table.known_extensions.pop(extension, []):
            if entry in table.extension_list:
                table.extension_list.remove(entry)
