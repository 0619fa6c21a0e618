"""Reads the YAML of a checkout: as data, within bounds, each value as the text that it is."""

from typing import Any

import yaml

from taly.hostile import MAX_DEPTH

MAX_BYTES = 256_000
"""Of one file. Without libyaml, Python reads about 200 kB of YAML a second."""
MAX_VALUES = 50_000
"""Of one file, aliases counted with everything that they stand for."""

_Fast: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TolerantLoader: type[Any] = type("_TolerantLoader", (_Fast,), {})
"""YAML as CloudFormation writes it: `!Ref`, `!Sub` and their kind are read as plain values."""


def _any_tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """A number is only printed again, and some numbers are too long for that."""
    return str(loader.construct_scalar(node))


_TolerantLoader.add_multi_constructor("!", _any_tag)
for _kind in ("bool", "int", "float", "timestamp"):
    _TolerantLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)


def yaml_value(text: str) -> Any:
    """What the YAML says; ValueError or yaml.YAMLError when it is none or goes beyond a bound."""
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1000} kB")
    _check(text)
    return yaml.load(text, Loader=_TolerantLoader)  # a SafeLoader's subclass


def _check(text: str) -> None:
    """Depth and size, aliases written out, before anything is built: merging copies them."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=_Fast):
        if isinstance(event, yaml.AliasEvent):
            count += sizes.get(event.anchor or "", MAX_VALUES)  # unknown, or within itself
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(opened) > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if count > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values, or one that holds itself")
