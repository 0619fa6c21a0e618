"""Everything of a service's configuration besides the image: compared, never stored in plain.

DescribeService returns variables in plain text. Names may be kept; values only as fingerprints
that are salted anew in every process, so that nothing written down can be guessed back.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

VARIABLES = "RuntimeEnvironmentVariables"
SECRETS = "RuntimeEnvironmentSecrets"
_SALT = secrets.token_bytes(32)


def fingerprint(value: str) -> str:
    """A short text that is equal for equal values, within this process only."""
    return hmac.new(_SALT, value.encode(), hashlib.sha256).hexdigest()[:16]


def image_configuration(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ImageConfiguration of a SourceConfiguration; empty if there is none."""
    found: Mapping[str, Any] = source.get("ImageRepository", {}).get("ImageConfiguration", {})
    return found


def fingerprints(source: Mapping[str, Any]) -> dict[str, str]:
    """Variable → fingerprint of its value (of its ARN, for a secret)."""
    image = image_configuration(source)
    both = {**image.get(VARIABLES, {}), **image.get(SECRETS, {})}
    return {name: fingerprint(value) for name, value in sorted(both.items())}


def names(source: Mapping[str, Any]) -> str:
    """The names of all variables, as one text for a receipt."""
    return ",".join(fingerprints(source))


def remainder(service: Mapping[str, Any]) -> str:
    """A hash over what an image rollback must leave alone and what holds no secret.

    Unsalted, so that another process can compare it; plain values and commands are left out.
    """
    source = dict(service["SourceConfiguration"])
    image = image_configuration(source)
    kept = {
        "port": image.get("Port"),
        "secrets": image.get(SECRETS, {}),
        "authentication": source.get("AuthenticationConfiguration"),
        "health": service.get("HealthCheckConfiguration"),
        "instance": service.get("InstanceConfiguration"),
        "network": service.get("NetworkConfiguration"),
    }
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def whole(service: Mapping[str, Any]) -> str:
    """The same with values and commands, salted: for this process only."""
    image = image_configuration(service["SourceConfiguration"])
    text = json.dumps([remainder(service), image], sort_keys=True, default=str)
    return fingerprint(text)


def lost_names(before: str, source: Mapping[str, Any]) -> list[str]:
    """Names that stood in a receipt's `names` and are not there any more."""
    return sorted(set(filter(None, before.split(","))) - set(fingerprints(source)))
