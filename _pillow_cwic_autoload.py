"""The start-up hook: makes Pillow, imageio and mimetypes know ``.cwic`` in programs that never import ``pillow_cwic``.

Python runs ``install()`` at start, by way of the files below in site-packages. It imports nothing; it only waits for
those modules to be imported, and tells each what it needs right after. PILLOW_CWIC_AUTOLOAD=0 switches it off, and
``cwic autoload disable`` removes the files. The package waits for modules in the same way, by ``after()``.
"""

import sys
from _thread import get_ident  # built in, and loaded by now

# Python 3.15 and later run the second file and then leave the first alone (PEP 829); older ones know the first only.
FILES = {
    "pillow_cwic_autoload.pth": (
        'import sys; exec("try:\\n import _pillow_cwic_autoload\\n _pillow_cwic_autoload.install()\\n'
        'except Exception:\\n pass")\n'
    ),
    "pillow_cwic_autoload.start": "_pillow_cwic_autoload:install\n",
}
PILLOW, IMAGEIO, MIMETYPES = "PIL.Image", "imageio.config.extensions", "mimetypes"  # the modules with the tables
FORMAT, EXTENSION, MIME = "CWIC", ".cwic", "image/x-cwic"

_waiting = {}  # name of a module: what to call with it as soon as it has been imported
_asking = set()  # names that the finder is asking the other finders for, each with its thread


def tell_pillow(module):
    import pillow_cwic

    pillow_cwic.register()  # it is still at it if another thread imports it, and waits there for what this one imports


def tell_imageio(module):
    if EXTENSION not in module.known_extensions:
        entry = module.FileExtension(name=FORMAT, extension=EXTENSION, priority=["pillow"])
        module.known_extensions[EXTENSION] = [entry]
        module.extension_list.append(entry)


def tell_mimetypes(module):
    if module.inited:
        module.add_type(MIME, EXTENSION)
    else:  # add_type() would read the system's tables now; what is here before them stays
        module.types_map[EXTENSION] = MIME


class _Finder:
    """Finds what the finders behind it find, but has something called after modules that are waited for.

    It stays when there is nothing left to wait for: to take it out could make another thread, which is going through
    the list of finders at that moment, miss one.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        asking = name, get_ident()
        if name not in _waiting or asking in _asking:  # asked by a finder that it has just asked itself
            return None
        _asking.add(asking)
        try:
            finders = list(sys.meta_path)
            for finder in finders[finders.index(_Finder) + 1 :] if _Finder in finders else ():
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find else None
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader)
                    return spec
        finally:
            _asking.discard(asking)
        return None


class _Loader:
    """Another loader, but for what follows its work; the module has the other one, as if nothing were."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        if name == "_loader":  # not there yet: asked while a copy is made
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __reduce__(self):
        return _Loader, (self._loader,)

    def exec_module(self, module):
        spec = getattr(module, "__spec__", None)
        if getattr(spec, "loader", None) is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        _tell(module.__name__, module)


def _tell(name, module):
    try:
        call = _waiting.pop(name, None)
        if call is not None:
            call(module)
    except Exception:  # a module of a version that is not known yet must not fail for our sake
        pass


def after(name: str, call: object) -> None:
    """Has ``call(module)`` called once, right after the module of that name is imported; now, if it is loaded.

    It takes the place of what was to be called for that module before. What it raises is passed over in silence.
    """
    _waiting[name] = call
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    if name in sys.modules:  # looked up after the above, so that no import in another thread falls between
        __import__(name)  # waits for a thread that is still at it
        _tell(name, sys.modules[name])


def forget(name: str) -> None:
    """Calls nothing after that module any more."""
    _waiting.pop(name, None)


def install():
    """Waits for all three. Never raises."""
    try:
        import os  # loaded by now

        if os.environ.get("PILLOW_CWIC_AUTOLOAD") != "0":
            for name, call in (PILLOW, tell_pillow), (IMAGEIO, tell_imageio), (MIMETYPES, tell_mimetypes):
                after(name, call)
    except Exception:
        pass
