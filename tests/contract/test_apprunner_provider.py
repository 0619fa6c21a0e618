"""The App Runner provider against the emulated vendor: the shared contract, then its own traps."""

from collections.abc import Iterator

import pytest
from apprunner_stage import Stage
from provider_contract import Holding, ProviderContract, RollingBack


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage().run()
    yield one
    one.stop()


class TestAppRunnerContract(ProviderContract):
    """The suite that every provider passes."""


class TestWhereDigestsAreRefused(RollingBack, Holding):
    """The same, on a service that takes tags only."""

    @pytest.fixture
    def stage(self) -> Iterator[Stage]:
        one = Stage({"digest_identifiers": "refused"}).run()
        yield one
        one.stop()


class TestWhereCiCallsUpdateService(RollingBack):
    """The same, on a service whose CI deploys a tag a commit."""

    @pytest.fixture
    def stage(self) -> Iterator[Stage]:
        one = Stage({"track": "update"}).run()
        yield one
        one.stop()
