"""Providers of other packages: found by entry point, as the how-to page says."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

from taly.errors import UsageError
from taly.model.ports import Actuator, Provider
from taly.providers.base import provider_factory

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-provider.md"


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


def test_a_provider_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package of the page, as an installer would lay it out."""
    (toml,), (python,) = blocks("toml"), blocks("python")
    group, line = re.findall(r'entry-points\."([\w.]+)"\]\n(.+)', toml)[0]
    info = tmp_path / "taly_fly-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: taly-fly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    (tmp_path / "taly_fly.py").write_text(python, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "taly_fly", raising=False)
    factory = provider_factory("fly")
    assert repr(factory) == "<class 'taly_fly.FlyProvider'>"


def test_the_class_on_the_page_is_the_port() -> None:
    (python,) = blocks("python")
    (made,) = [node for node in ast.parse(python).body if isinstance(node, ast.ClassDef)]
    shown = {
        node.name: (ast.unparse(node.args), ast.unparse(node.returns or ast.Constant(None)))
        for node in made.body
        if isinstance(node, ast.FunctionDef) and node.name != "__init__"
    }
    owed = {
        node.name: (ast.unparse(node.args), ast.unparse(node.returns or ast.Constant(None)))
        for port in (Actuator, Provider)
        for node in ast.walk(ast.parse(inspect.getsource(port)))
        if isinstance(node, ast.FunctionDef)
    }
    assert shown == owed


def test_an_unknown_provider_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="apprunner, netlify, postgres"):
        provider_factory("nobody")
