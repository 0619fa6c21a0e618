"""Every taly.toml in the docs is one: `load_config` takes it as it stands."""

import re
import tomllib
from pathlib import Path

import pytest

from taly.config import load_config
from taly.config.settings import SETTINGS, HealthSettings, PolicySettings
from taly.errors import UsageError

ROOT = Path(__file__).parents[2]
COMPLETE = ROOT / "docs" / "reference" / "taly-toml.md"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


def files(page: Path) -> list[str]:
    """The TOML blocks of a page that are whole files."""
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if re.search(r"^environment = ", block, re.MULTILINE)]


@pytest.mark.parametrize("page", [page for page in PAGES if files(page)], ids=lambda p: p.name)
def test_every_file_that_is_shown_is_accepted(page: Path, tmp_path: Path) -> None:
    for text in files(page):
        path = tmp_path / "taly.toml"
        path.write_text(text, encoding="utf-8")
        assert load_config(path).environment.components


def test_the_complete_one_has_every_setting() -> None:
    (text,) = files(COMPLETE)
    shown = tomllib.loads(text)
    components = shown["components"].values()
    by_provider = {one["provider"]: one.keys() for one in components}
    for provider, model in SETTINGS.items():
        names = {field.alias or name for name, field in model.model_fields.items()}
        assert names <= by_provider[provider], provider
    assert shown["policy"].keys() == PolicySettings.model_fields.keys()
    asked = {key for one in components for key in one.get("health", {})}
    assert asked == HealthSettings.model_fields.keys()


def test_the_mistakes_that_are_shown_are_said_so(tmp_path: Path) -> None:
    shown = re.findall(r"^  (components\.\S+: .+)$", COMPLETE.read_text("utf-8"), re.MULTILINE)
    path = tmp_path / "taly.toml"
    path.write_text(
        'environment = "e"\n[components.backend]\nprovider = "apprunner"\nservce = "x"\n', "utf-8"
    )
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert len(shown) == 2
    assert all(line in caught.value.message for line in shown)
