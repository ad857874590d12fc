"""Code from outside the package: which options it takes, and a digest that changes with an edit.

A run is found by its description. A loss or model of one's own is part of that description, so it
needs a name for its *content*: otherwise an edited function would find the model that the old one
trained.
"""

import dis
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, PurePath)
_GENERATED = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__"),
    *("__slotnames__", "__annotations_cache__"),  # which copying and inspecting leave
}
_OF_MODULES = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Source:
    """A callable from outside the package, and the version that its author may give it."""

    code: Callable[..., Any]
    version: str = ""

    @property
    def origin(self) -> str:
        """Where the callable was defined: module and name."""
        code = _innermost(self.code)
        return _qualified(code if hasattr(code, "__qualname__") else type(code))

    def digest(self) -> str:
        """16 hex digits that change with the callable's source, defaults and closure values.

        They also change with the functions, classes and constants of the same module or notebook
        that the source names, and theirs in turn. What comes from other modules counts by name. A
        given version replaces all of this. Computed anew each time, because a notebook may redefine
        a helper in the meantime. Raises ValueError where something can't be read.
        """
        if self.version:
            parts = ["version", self.version]
        else:
            try:
                parts = list(_Reader(self.code).read(self.code))
            except _UnreadableError as error:
                raise ValueError(
                    f"{error}, so an edit of {self.origin} would go unnoticed; register it with a "
                    f'version of your own: version="1"'
                ) from None
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def accepted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that the function's signature names."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def check_call(
    entry: str, code: Callable[..., Any], expected: str, *arguments: object, **options: object
) -> None:
    """Raise ValueError unless `code` can be called like this; `expected` says it in words."""
    signature = inspect.signature(code)
    try:
        signature.bind(*arguments, **options)
    except TypeError:
        raise ValueError(f"{entry} has the signature {signature}; expected {expected}") from None


def check_entry(kind: str, name: str, code: object, known: Mapping[str, Source | None]) -> None:
    """Raise ValueError unless `code` may be registered under that name.

    `known` are the names in use; built-in ones have no source. A function may replace an earlier
    version of itself, so that a notebook's cell can be run again.
    """
    text = isinstance(name, str) and name[:1].isalpha()
    if not text or not name.replace("-", "_").isidentifier():
        raise ValueError(
            f"{kind} name {name!r} is not allowed; letters, digits, '-' and '_' are, a letter "
            f"first, such as 'mine'"
        )
    if not callable(code):
        raise ValueError(f"{kind} {name!r} must be callable, got {code!r}")
    try:
        inspect.signature(code)
    except (TypeError, ValueError):  # a function written in C may have none
        raise ValueError(
            f"{kind} {name!r}: the signature of {code!r} can't be read; wrap it in a function"
        ) from None
    if name in known:
        source = known[name]
        if source is None or source.origin != Source(code).origin:
            where = "built in" if source is None else source.origin
            raise ValueError(f"{kind} {name!r} exists already ({where}); choose another name")


class _UnreadableError(Exception):
    """Something that a digest can't cover."""


class _Reader:
    """Turns a callable, and what it names in its own module, into text."""

    def __init__(self, root: object):
        self.home = getattr(_innermost(root), "__module__", None)
        self.seen: dict[int, object] = {}  # by identity, in the order of reading

    def read(self, value: object) -> Iterator[str]:
        """The pieces of text that describe a value."""
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif isinstance(value, ModuleType):
            yield value.__name__
        elif (place := id(value)) in self.seen:
            yield f"again {list(self.seen).index(place)}"
        else:
            if not isinstance(value, tuple | frozenset):  # the rest may contain itself
                self.seen[place] = value
            yield type(value).__qualname__
            yield from self._read_structure(value)

    def _read_structure(self, value: Any) -> Iterator[str]:
        match value:
            case FunctionType() if self._is_home(value):
                yield from self._read_function(value)
            case type() if self._is_home(value):
                yield from self._read_class(value)
            case FunctionType() | BuiltinFunctionType() | type():
                yield _qualified(value)
            case MethodType():
                yield from self._read_all(value.__func__, value.__self__)
            case functools.partial():
                yield from self._read_all(value.func, value.args, value.keywords)
            case staticmethod() | classmethod():
                yield from self.read(value.__func__)
            case property():
                yield from self._read_all(value.fget, value.fset)
            case Enum():
                yield str(value)
            case tuple() | list():
                yield from self._read_all(*value)
            case set() | frozenset():
                yield from sorted("\0".join(self.read(item)) for item in value)
            case dict():
                yield from self._read_all(*value.keys(), *value.values())
            case Tensor():
                raw = value.detach().cpu().flatten().view(torch.uint8)
                yield f"{value.dtype} {tuple(value.shape)} {raw.numpy().tobytes().hex()}"
            case np.ndarray() if not value.dtype.hasobject:
                yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
            case _ if hasattr(value, "__wrapped__"):  # such as functools.cache
                yield from self.read(value.__wrapped__)
            case _ if isinstance(value, nn.Module) or self._is_home(type(value)):
                yield from self.read(type(value))
                yield from self.read(
                    {k: v for k, v in vars(value).items() if self._counts(value, k)}
                )
            case _:
                raise _UnreadableError(f"{value!r:.80} has no source that can be read")

    def _counts(self, value: Any, name: str) -> bool:
        """Whether an attribute is part of what an object computes. Private ones may be caches.

        So they count only where they are plain values of the author's own class.
        """
        if isinstance(value, nn.Module) and name in _OF_MODULES:
            return name in ("_parameters", "_buffers", "_modules", "training")
        plain = self._is_home(type(value)) and isinstance(getattr(value, name), _PLAIN)
        return not name.startswith("_") or plain

    def _read_all(self, *values: object) -> Iterator[str]:
        yield str(len(values))
        for value in values:
            yield from self.read(value)

    def _read_function(self, function: FunctionType) -> Iterator[str]:
        yield _source_text(function.__code__)
        yield from self._read_all(function.__defaults__, function.__kwdefaults__)
        yield from self._read_all(*(_content(cell) for cell in function.__closure__ or ()))
        for name in sorted(_globals_named(function.__code__)):
            if name in function.__globals__:
                yield name
                yield from self.read(function.__globals__[name])

    def _read_class(self, cls: type) -> Iterator[str]:
        yield cls.__qualname__
        yield from self._read_all(*cls.__bases__)
        for name, value in sorted(vars(cls).items()):
            if name not in _GENERATED and (name != "__annotations__" or value):  # {} if looked at
                yield name
                yield from self.read(value)

    def _is_home(self, value: object) -> bool:
        return getattr(value, "__module__", None) == self.home


@functools.cache
def _source_text(code: CodeType) -> str:
    """The text of a function, as it was when it was first read: its file may be edited later."""
    try:
        return textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        raise _UnreadableError(f"the source of {code.co_qualname} can't be read") from None


def _globals_named(code: CodeType) -> set[str]:
    """The global names that a function uses, and those that functions inside of it use."""
    loads = (i for i in dis.get_instructions(code) if "GLOBAL" in i.opname or "NAME" in i.opname)
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return {str(load.argval) for load in loads}.union(*map(_globals_named, inner))


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _innermost(code: Any) -> Any:
    """The callable that arguments were bound to, if any were."""
    while isinstance(code, functools.partial):
        code = code.func
    return code


def _qualified(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
