# SPDX-License-Identifier: Apache-2.0
#
# What code shows, as typed results: one dictionary by MIME type for each thing, in the manner of notebooks
# (https://jupyter-client.readthedocs.io/en/stable/messaging.html#display-data, `_repr_*_` methods of
# https://ipython.readthedocs.io/en/stable/config/integrating.html). Needs nothing in the image: figures and
# pictures are asked for what they can do, once their libraries have been imported by the code.
#
# Compiled in before context.py, whose program this is the first part of.

import base64
import builtins
import importlib.abc
import importlib.machinery
import io
import json
import os
import sys
import threading
import types

MOST_RESULTS = 64
MOST_BYTES = 7 << 20  # of all results of an execution
MOST_OF_ONE = 1000 << 10  # as JSON; the channel takes 1 MiB
MOST_TEXT = 100 << 10


class Results:
    """Hands results on, within the bounds, from any thread of this process but from no fork of it."""

    def __init__(self, send):
        self._send = send
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.reset(False)

    def reset(self, wanted):
        self.wanted = wanted
        self.figures = set()  # shown by themselves, and not once more at the end
        self._count = 0
        self._bytes = 0

    def show(self, kind, value):
        if _is_figure(value):
            self.figures.add(id(value))
        self.add(kind, bundle(value))

    def add(self, kind, data):
        if not self.wanted or os.getpid() != self._owner:
            return data.get("text/plain") is None or print(data["text/plain"])
        text = json.dumps({"result": {"kind": kind, "data": data}})
        if len(text) > MOST_OF_ONE:
            data = _shortened(data)
            text = json.dumps({"result": {"kind": kind, "data": data}})
        with self._lock:
            if self._count >= MOST_RESULTS or self._bytes + len(text) > MOST_BYTES or len(text) > MOST_OF_ONE:
                print("[a result was left out: there are too many, or they are too large]", file=sys.stderr)
                return None
            self._count += 1
            self._bytes += len(text)
            for stream in (sys.stdout, sys.stderr):  # what was printed before stands before
                try:
                    stream.flush()
                except Exception:
                    pass
            self._send(text)
        return None


def _shortened(data):
    """The largest parts are left out, and said to be."""
    kept, room = {}, MOST_OF_ONE - (4 << 10)
    for kind in sorted(data, key=lambda kind: len(json.dumps(data[kind]))):
        size = len(json.dumps(data[kind]))
        if size <= room:
            kept[kind] = data[kind]
            room -= size
        else:
            note = "[%s of %d bytes left out: too large; save it to a file]" % (kind, size)
            kept["text/plain"] = (kept.get("text/plain", "") + "\n" + note).strip()
    return kept


def _text(value):
    if isinstance(value, (dict, list, tuple, set, frozenset)) and len(value) > 3:
        import pprint

        text = pprint.pformat(value, width=100, compact=True, sort_dicts=False)
    else:
        text = repr(value)
    if len(text) > MOST_TEXT:
        half = MOST_TEXT // 2
        text = text[:half] + "\n… %d characters left out …\n" % (len(text) - 2 * half) + text[-half:]
    return text.encode("utf-8", "backslashreplace").decode()


def _figure(figure):
    for dpi in (None, 72, 48, 32):
        file = io.BytesIO()
        options = {} if dpi is None else {"dpi": dpi}
        figure.savefig(file, format="png", bbox_inches="tight", **options)
        if file.tell() * 4 // 3 < MOST_OF_ONE - (8 << 10):
            break
    return file.getvalue()


_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_latex_", "text/latex"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_json_", "application/json"),
)


def _carried(kind, value):
    """As it can stand in JSON, or None."""
    if isinstance(value, tuple):  # data and metadata
        value = value[0] if value else None
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if kind.endswith("json") and value is not None:
        json.dumps(value)
        return value
    return None


def _is_figure(value):
    figures = sys.modules.get("matplotlib.figure")
    return figures is not None and isinstance(value, getattr(figures, "Figure", ()))


def bundle(value):
    data = {}
    if isinstance(value, type):
        return {"text/plain": _text(value)}
    if _is_figure(value):
        try:
            data["image/png"] = _carried("image/png", _figure(value))
        except Exception as error:
            data["text/plain"] = "%r cannot be drawn: %s" % (value, error)
        return {"text/plain": _text(value), **data}
    try:
        many = getattr(value, "_repr_mimebundle_", None)
        offered = many() if callable(many) else None
        if isinstance(offered, tuple):
            offered = offered[0]
        for kind, part in (offered or {}).items():
            carried = _carried(kind, part)
            if isinstance(kind, str) and carried is not None:
                data[kind] = carried
    except Exception:  # as if it had none; the text is always there
        pass
    for name, kind in _METHODS:
        if kind in data:
            continue
        try:
            method = getattr(value, name, None)
            carried = _carried(kind, method()) if callable(method) else None
            if carried is not None:
                data[kind] = carried
        except Exception:
            pass
    if "text/plain" not in data:
        data["text/plain"] = _text(value)
    return data


def show_figures(results):
    """Those that are open, in order; each is shown once."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    try:
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if id(figure) not in results.figures:
                results.add("display", bundle(figure))
        pyplot.close("all")
    except Exception as error:
        print("[figures cannot be shown: %s]" % error, file=sys.stderr)


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function once a module of that name was imported."""

    def __init__(self, hooks):
        self._hooks = hooks

    def find_spec(self, name, path=None, target=None):
        hook = self._hooks.pop(name, None)
        if hook is None:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if finder is not self and find is not None else None
            if spec is not None:
                break
        else:
            self._hooks[name] = hook
            return None
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is not None:

            def exec_module(module):
                execute(module)
                try:
                    hook(module)
                except Exception:  # another version than the hook knows: it does without
                    pass

            try:
                loader.exec_module = exec_module
            except AttributeError:
                pass
        return spec


def install(results):
    """display() for the code, plt.show(), Image.show(), IPython's display."""

    def display(*values, **_):
        for value in values:
            results.show("display", value)

    builtins.display = display

    def pyplot(module):
        # Of the backends that draw to memory; a window can't be had here.
        if not os.environ.get("MPLBACKEND"):
            module.switch_backend("Agg")
        drawn = module.show

        def show(*arguments, **options):
            if module.get_backend().lower() == "agg":
                show_figures(results)
            else:
                drawn(*arguments, **options)

        module.show = show

    def viewer(module):
        class Viewer(module.Viewer):
            def show(self, image, **_):
                results.add("display", bundle(image))
                return True

        module.register(Viewer, 0)

    def ipython(module):
        module.display = display

    hooks = {"matplotlib.pyplot": pyplot, "PIL.ImageShow": viewer, "IPython.display": ipython}
    for name in list(hooks):
        if name in sys.modules:
            hooks.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, AfterImport(hooks))
