"""Settings: frozen dataclasses, possibly nested, from dicts and from the text of a command line."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


def from_dict(cls, values: Mapping[str, Any], path: str = ""):
    """A dict, possibly nested and from JSON → the frozen dataclass ``cls``.

    Raises:
        ValueError: an unknown key, or a value of another type than the field's default; it names the valid ones.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"Unknown setting {path}{unknown[0]}; valid: {', '.join(fields)}.")
    made: dict[str, Any] = {}
    for name, value in values.items():
        default = _default(fields[name])
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            made[name] = from_dict(type(default), value, f"{path}{name}.")
        else:
            made[name] = _checked(value, default, path + name)
    return cls(**made)


def replace(config, path: str, value: Any):
    """``config`` with the field at the dotted ``path`` replaced.

    Args:
        config: frozen dataclass.
        path: e.g. ``"image_encoder.weights"``.
        value: a value of the field's type, or its text.

    Raises:
        ValueError: no such field, or a text that is no such value.
    """
    head, _, rest = path.partition(".")
    names = [field.name for field in dataclasses.fields(config)]
    if head not in names:
        raise ValueError(f"Unknown setting {path}; valid: {', '.join(names)}.")
    old = getattr(config, head)
    if dataclasses.is_dataclass(old):
        if not rest:
            inner = ", ".join(f"{head}.{field.name}" for field in dataclasses.fields(old))
            raise ValueError(f"Setting {path} is a group; valid: {inner}.")
        return dataclasses.replace(config, **{head: replace(old, rest, value)})
    return dataclasses.replace(config, **{head: _checked(value, old, path)})


SOURCES = ("weights", "vectors")
"""Fields that name a file which weights start from."""


def without_sources(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a dict, possibly nested → the same, :data:`SOURCES` empty at any depth.

    What rebuilds a trained model: its weights replace whatever they once started from, which need not exist any more.
    """
    return {
        name: without_sources(value) if isinstance(value, Mapping) else "" if name in SOURCES else value
        for name, value in settings.items()
    }


def _default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _checked(value, default, path):
    expected = type(default)
    if expected is str and value is None:
        return ""
    try:
        if expected is tuple:
            items = value.split(",") if isinstance(value, str) else value
            item = type(default[0]) if default else str
            return tuple(item(part) for part in items if part != "")
        if expected is bool:
            known = {"true": True, "false": False, True: True, False: False}
            return known[value.lower() if isinstance(value, str) else value]
        if expected is int and isinstance(value, float):
            raise ValueError
        if expected in (int, float, str):
            return expected(value)
        if isinstance(value, str):  # a field that is off by default, e.g. a pair of numbers
            value = json.loads(f"[{value}]") if "," in value else json.loads(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"Setting {path}: expected {expected.__name__}, received {value!r}.") from error
    return tuple(value) if isinstance(value, list) else value


def check_choices(config: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ValueError, naming the valid ones, where a field of ``config`` is none of its choices."""
    for name, valid in choices.items():
        if getattr(config, name) not in valid:
            raise ValueError(f"{name}: expected one of {list(valid)}, received {getattr(config, name)!r}.")
