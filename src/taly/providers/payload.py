"""What vendors' answers have in common, whatever is in them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Payload(BaseModel):
    """A part of an answer; what we do not read is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, said: Any) -> Any:
        """A null says no more than a missing field does."""
        if not isinstance(said, dict):
            return said
        return {name: value for name, value in said.items() if value is not None}
