"""YAML that anybody may have written: decimal numbers, each key once, bounded in depth and size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import yaml
from yaml import MappingNode, Node, ScalarNode

from pisam.core.errors import PisamError
from pisam.core.files import is_encodable

LARGEST_FILE = 2**16  # bytes; settings are a page
MOST_VALUES = 10_000  # aliases make more of a small file
DEEPEST = 100  # brackets in brackets
STRING = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """Plain YAML whose numbers are decimal: 1e-4 is one, while 0123 is not 83 and 12:30 not 750."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level == DEEPEST:  # PyYAML takes a second to find that it nests too deep
            raise RecursionError
        super().fetch_flow_collection_start(token)

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in rules if tag.rsplit(":")[-1] in ("null", "bool", "merge")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9][0-9_]*$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?$|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$
        |[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node).replace("_", ""))
)


def parse_yaml(text: str, source: str, prepare: Callable[[Node], None] = lambda node: None) -> Any:
    """The value of a YAML text of anybody's; `prepare` changes the nodes before, see `keep_text`.

    Raises:
        PisamError: not YAML, a key twice, nested too deep, or more than `MOST_VALUES` values; begins with
            `source`.
    """
    try:
        node, _ = nodes(text, source)
        if node is None:
            return None
        prepare(node)
        return plain(node)
    except (yaml.YAMLError, ValueError) as error:
        raise PisamError(f"{short(source)}: not readable as YAML: {' '.join(str(error).split())}") from error


def parse_texts(text: str, source: str) -> list[str]:
    """The texts of a list such as `[one, another]`, each as it was typed.

    Raises:
        PisamError: as `parse_yaml`, or something else; begins with `source`.
    """
    expected = PisamError(f"{short(source)}: got {short(text)}, expected names or paths as [one,another]")
    try:
        node, _ = nodes(text, source)
    except (yaml.YAMLError, ValueError) as error:
        raise expected from error
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(i, ScalarNode) for i in node.value):
        raise expected
    return [item.value for item in node.value]


def nodes(text: str, source: str) -> tuple[Node | None, list[ScalarNode]]:
    """The node of a text, and all the scalars below it; errors as `parse_yaml`, but for YAML's own errors."""
    if len(text) > LARGEST_FILE:
        raise PisamError(f"{short(source)}: larger than {LARGEST_FILE // 1024} kB; those are no settings")
    try:
        node: Node | None = _Loader(text).get_single_node()
        return node, [] if node is None else list(_scalars(node, [MOST_VALUES], source))
    except RecursionError as error:
        raise PisamError(f"{short(source)}: nested too deeply") from error


def _scalars(node: Node, left: list[int], source: str) -> Iterator[ScalarNode]:
    left[0] -= 1
    if left[0] < 0:
        raise PisamError(f"{source}: more than {MOST_VALUES} values; those are no settings")
    if isinstance(node, ScalarNode):
        if not is_encodable(node.value):
            raise PisamError(f"{short(source)}: {short(repr(node.value))} has a character that no text holds")
        yield node
        return
    if isinstance(node, MappingNode):
        _refuse_double_keys(node, source)
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _scalars(part, left, source)


def _refuse_double_keys(node: MappingNode, source: str) -> None:
    """PyYAML alone keeps the last of two equal keys; a list is none."""
    seen = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise PisamError(f"{short(source)}: not valid YAML in line {line}: a key is a list or has keys")
        if key.value in seen:
            raise PisamError(
                f"{short(source)}: not valid YAML in line {line}: {key.value:.80} is there twice"
            )
        seen.add(key.value)


def plain(node: Node) -> Any:
    """The value of a node; a number that Python cannot read stays text."""
    try:
        return _Loader("").construct_object(node, deep=True)
    except (ValueError, OverflowError, TypeError, yaml.YAMLError):
        return str(node.value)


def entries(node: Node) -> list[tuple[str, Node]]:
    """The keys and values of a mapping, as typed; none of any other node."""
    return [(key.value, value) for key, value in node.value] if isinstance(node, MappingNode) else []


def keep_text(node: Node) -> None:
    """Have a scalar, or each of a list, read as the text that was typed, null excepted."""
    for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if isinstance(each, ScalarNode) and not each.tag.endswith(":null"):
            each.tag = STRING


def short(text: str) -> str:
    """A text as a message shows it: the middle of a long one is left out."""
    return text if len(text) <= 120 else f"{text[:60]} ... {text[-20:]}"
