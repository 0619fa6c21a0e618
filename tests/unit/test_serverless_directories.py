"""Which deployment a user means by a time, however it is written."""

import pytest

from taly.planning.timestamps import directories_meant
from taly.providers.serverless.directories import grouped

FIRST = "1795092773786-2026-11-19T12:52:53.786Z"
SECOND = "1795092774102-2026-11-19T12:52:54.102Z"
OTHER_DAY = "1795179173786-2026-11-20T12:52:53.786Z"
ALL = (FIRST, SECOND, OTHER_DAY)


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        f"serverless/mail/production/{FIRST}/",
        "1795092773786",
        "1795092773",
        "2026-11-19T12:52:53.786Z",
        "2026-11-19T12:52:53Z",
        "2026-11-19T12:52:53",
        "2026-11-19T14:52:53+02:00",
        "2026-11-19 12:52:53 UTC",
        "2026-11-19 12:52:53",
        "Timestamp: 1795092773786",
        "Datetime: 2026-11-19T12:52:53.786Z",
    ],
)
def test_serverless_timestamps_every_form_is_accepted(text: str) -> None:
    assert directories_meant(text, ALL) == [FIRST]


def test_serverless_timestamp_that_matches_two_names_both() -> None:
    assert directories_meant("2026-11-19T12:52", ALL) == [FIRST, SECOND]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-21", "2026-13-40T99:99", "42"])
def test_serverless_timestamp_that_matches_none_is_refused(text: str) -> None:
    assert directories_meant(text, ALL) == []


def test_serverless_minute_is_enough_when_only_one_matches() -> None:
    assert directories_meant("2026-11-20T12:52", ALL) == [OTHER_DAY]


def test_serverless_directories_of_another_stage_or_shape_are_left_out() -> None:
    keys = [
        f"serverless/mail/dev/{FIRST}/mail.zip",
        f"serverless/mail/dev2/{OTHER_DAY}/mail.zip",
        "serverless/mail/dev/code-artifacts/mail.zip",
        "serverless/mail/dev/notes.txt",
    ]
    assert [one.name for one in grouped("serverless/mail/dev/", keys)] == [FIRST]
