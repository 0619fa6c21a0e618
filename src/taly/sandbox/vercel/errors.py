"""The vendor's refusals, as `{error: {code, message}}`."""


class ApiError(Exception):
    """A request that the emulated vendor refuses."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
