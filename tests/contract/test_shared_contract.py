"""The shared store does what every store does."""

from pathlib import Path

import pytest
import store_contract
from shared_stage import Memory
from store_contract import StoreContract

from taly.engine.shared import SharedStore
from taly.engine.store import Store
from taly.engine.store.sqlite import SqliteDatabase


class TestSharedStore(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        objects = Memory()

        def opened(url: str) -> Store:
            folder = tmp_path / "shared"
            return SharedStore(SqliteDatabase(Path(url)), objects, "production", folder=folder)

        monkeypatch.setattr(store_contract, "open_store", opened)
        return str(tmp_path / "taly.db")
