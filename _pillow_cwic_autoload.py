"""The start-up hook: makes Pillow and imageio know ``.cwic`` in programs that never import ``pillow_cwic``.

Python runs ``install()`` at start, by way of the files below in site-packages. It imports nothing; it only waits for
Pillow or imageio to be imported, and imports ``pillow_cwic`` right after. PILLOW_CWIC_AUTOLOAD=0 switches it off, and
``cwic autoload disable`` removes the files.
"""

import sys

# Python 3.15 and later run the second file and then leave the first alone (PEP 829); older ones know the first only.
FILES = {
    "pillow_cwic_autoload.pth": (
        'import sys; exec("try:\\n import _pillow_cwic_autoload\\n _pillow_cwic_autoload.install()\\n'
        'except Exception:\\n pass")\n'
    ),
    "pillow_cwic_autoload.start": "_pillow_cwic_autoload:install\n",
}
AWAITED = ("PIL.Image", "imageio.config.extensions")


class _Finder:
    """Finds nothing itself, but has ``pillow_cwic`` imported behind the first of the awaited modules."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in AWAITED:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None) if finder is not _Finder else None
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Another loader, but for what follows its work; afterwards the module has the other one as if nothing were."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            while _Finder in sys.meta_path:
                sys.meta_path.remove(_Finder)
            import pillow_cwic  # noqa: F401
        except Exception:
            pass


def install():
    """Puts the finder first. Never raises."""
    try:
        import os  # loaded by now

        if os.environ.get("PILLOW_CWIC_AUTOLOAD") != "0" and _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
    except Exception:
        pass
