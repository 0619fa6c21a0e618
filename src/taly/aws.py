"""AWS clients: credentials from the given environment, else AWS's own chain; errors as ours."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.hostile import LONE, json_value
from taly.transport import (
    CA_FILE,
    UNTRUSTED,
    UNTRUSTED_HINT,
    bundle,
    check_endpoint,
    is_loopback,
    untrusted,
)

log = logging.getLogger(__name__)

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PASSING_CODES = frozenset(
    {
        "InternalServiceErrorException",
        "InternalFailure",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

_QUOTED = re.compile(
    r"""(?sx) (\bvalue\ )'.*'(?=\ at\ ')       # Value '…' at 'environment' failed to satisfy …
    | (\bvalue:\ ).*?(?=,\ (?:type|valid)\b)  # botocore's own words
    | (?<!\$)\{.*\}                            # String measured: {"NAME":"…"}
    """,
    re.IGNORECASE,
)


def without_values(text: str) -> str:
    """AWS's words without the request's values: validation errors repeat whole environments."""
    return _QUOTED.sub(lambda found: f"{found[1] or found[2] or ''}[not shown]", text)


class AwsClients:
    """botocore clients by service and region, made when first asked for, shared by threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """`environ` may name AWS_ENDPOINT_URL, AWS_REGION and keys, as for AWS's own tools."""
        self._environ = environ
        self._clients: dict[tuple[str, str, int, float], Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    def client(
        self, service: str, region: str, *, attempts: int = 4, read_timeout_s: float = 20.0
    ) -> Any:
        """A client; `attempts` = 1 for writes, which are never retried blindly."""
        with self._lock:
            key = (service, region, attempts, read_timeout_s)
            if key not in self._clients:
                self._clients[key] = self._make(*key)
            return self._clients[key]

    def _make(self, service: str, region: str, attempts: int, read_timeout_s: float) -> Any:
        from botocore.config import Config
        from botocore.exceptions import NoCredentialsError

        given = self._environ.get("AWS_ENDPOINT_URL")
        if given:  # before the credentials that are not to be sent are even looked for
            if is_loopback(urlsplit(given).hostname) and not self._has_keys():
                raise NoCredentialsError  # AWS's own files hold none that an emulator may see
            self._check(service, given)
        if self._session is None:
            self._session = self._open()
        config = Config(
            connect_timeout=min(5.0, read_timeout_s),
            read_timeout=read_timeout_s,
            max_pool_connections=32,
            retries={"mode": "standard", "total_max_attempts": attempts},
        )
        client = self._session.create_client(
            service,
            region_name=region or None,
            endpoint_url=given,
            verify=self._trusted(),
            config=config,
        )
        # Asked of the client: AWS's own files and variables may name an endpoint as well.
        self._check(service, client.meta.endpoint_url)
        client.meta.events.register("after-call", _shown)
        client.meta.events.register("before-parse", _checked)
        return client

    def _has_keys(self) -> bool:
        return any(self._environ.get(name) for name in KEYS)

    def _check(self, service: str, endpoint: str) -> None:
        check_endpoint(
            f"AWS {service}",
            endpoint,
            secret=self._environ.get("AWS_SECRET_ACCESS_KEY", ""),
            variable="AWS_SECRET_ACCESS_KEY",
            setting="AWS_ENDPOINT_URL",
        )

    def _trusted(self) -> str | None:
        """A file of certificates; None = botocore's own choice, in which AWS_CA_BUNDLE counts."""
        from botocore.httpsession import where

        ca_file = self._environ.get(CA_FILE)
        return bundle(ca_file, self._environ.get("AWS_CA_BUNDLE") or where()) if ca_file else None

    def _open(self) -> Any:
        """One session for all clients: reading AWS's own files takes longer than a call.

        botocore's rather than boto3's: nothing of what boto3 adds is used, and importing that
        takes half as long again.
        """
        from botocore.exceptions import PartialCredentialsError
        from botocore.session import Session  # a tenth of a second: only when AWS is asked

        env, session = self._environ, Session()
        session.register_component("data_loader", _models())
        key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
        if key and secret:
            session.set_credentials(key, secret, env.get("AWS_SESSION_TOKEN"))
        elif key or secret:
            missing = "aws_secret_access_key" if key else "aws_access_key_id"
            raise PartialCredentialsError(provider="env", cred_var=missing)
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
        if region:
            session.set_config_variable("region", region)
        return session


def _shown(model: Any, http_response: Any, **_: Any) -> None:
    """One line a call; botocore's own log holds whole requests and answers."""
    log.debug(
        "%s: %d", f"{model.service_model.service_name}:{model.name}", http_response.status_code
    )


def _checked(response_dict: Mapping[str, Any], **_: Any) -> None:
    """ValueError for halves of characters, which botocore reads and nothing can store or print."""
    body = response_dict.get("body")
    if isinstance(body, bytes) and body[:1] == b"{" and LONE.search(body.decode(errors="replace")):
        json_value(body)


@cache
def _models() -> Any:
    """Reads AWS's descriptions of its services, each once for all sessions; holds nothing else."""
    from botocore.loaders import Loader

    models = Loader()

    def folders(type_name: str) -> list[str]:
        """Every folder there is; botocore looks into all four hundred, for 40 ms a command."""
        paths = [Path(path) for path in models.search_paths]
        return [one.name for path in paths if path.is_dir() for one in path.iterdir()]

    models.list_available_services = folders
    return models


MALFORMED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)
"""What reading an answer of another shape comes to; RecursionError is a RuntimeError."""


@contextmanager
def aws_errors(call: str) -> Iterator[None]:
    """Turn botocore's errors of this call into VendorUnavailable and VendorRefused.

    Missing credentials or a missing region are the user's to give: UsageError.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        code, message = said.get("Code", "unknown"), without_values(said.get("Message", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = VendorUnavailable if code in PASSING_CODES or status >= 500 else VendorRefused
        raise kind(f"{call}: {code}: {message}", reference=f"aws-{_kebab(code)}") from error
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        missing = "region" if isinstance(error, NoRegionError) else "credentials"
        raise UsageError(
            f"{call}: AWS needs {missing}: {error}",
            reference=f"aws-{missing}-missing",
            hint="aws configure",
        ) from error
    except ParamValidationError as error:  # botocore sent nothing
        message = f"{call}: {without_values(str(error))}"
        raise VendorRefused(message, reference="aws-request-invalid") from None
    except (BotoCoreError, ResponseParserError) as error:  # a proxy's HTML page, for one
        name = type(error).__name__
        if why := untrusted(error):
            raise VendorRefused(
                f"{call}: the certificate shown is not trusted ({why}): nothing was sent",
                reference=UNTRUSTED,
                hint=UNTRUSTED_HINT,
            ) from error
        raise VendorUnavailable(f"{call}: {name}: {error}", reference="aws-unreachable") from error
    except MALFORMED as error:  # botocore's parsers trust the shape of what they are given
        raise _unexpected(call, error) from error


@contextmanager
def as_documented(call: str) -> Iterator[None]:
    """Reading an answer that lacks what AWS documents is VendorUnavailable, no bug of taly's."""
    try:
        yield
    except MALFORMED as error:
        raise _unexpected(call, error) from error


def _unexpected(call: str, error: Exception) -> VendorUnavailable:
    return VendorUnavailable(
        f"{call}: an answer came in a form that taly does not know ({type(error).__name__})",
        reference="aws-unexpected-answer",
        hint="taly status",
    )


def _kebab(code: str) -> str:
    words = "".join(f"-{char.lower()}" if char.isupper() else char for char in code)
    return words.strip("-").replace(".", "-")
