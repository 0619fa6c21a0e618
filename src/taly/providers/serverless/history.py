"""Directories, templates and events, made into deployments with what is needed to go back."""

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from taly.errors import VendorRefused
from taly.model.release import (
    Barred,
    Deployment,
    Evidence,
    Gone,
    LivePeriod,
    Restorability,
    Restorable,
)
from taly.providers.serverless import template as templates
from taly.providers.serverless.aws_reads import UNREADABLE, AwsReads, at_once
from taly.providers.serverless.directories import TEMPLATE_FILE, Directory
from taly.providers.serverless.template import Artifact, Template

LOOKED_AT = 30
"""Directories whose template is read; a bucket that nobody prunes may hold thousands."""
SEPARATOR = "; "


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one directory holds."""

    directory: Directory
    template: Template | None
    """None = gone, or unreadable."""
    unreadable: bool = False
    """Whether there is something in its place that is no template."""
    missing: tuple[str, ...] = ()
    """Artifacts that the template names and that no longer exist."""
    code: str = ""
    """Digest over the code that it would make the functions run; empty = not known."""


def read_contents(
    reads: AwsReads, bucket: str, prefix: str, directories: Iterable[Directory]
) -> list[Content]:
    """The templates of these directories, and whether the artifacts they name are there."""

    def read(directory: Directory) -> Content:
        key = f"{prefix}{directory.name}/{TEMPLATE_FILE}"
        try:
            template = reads.stored_template(bucket, key) if directory.has_template else None
        except VendorRefused as error:
            if error.reference != UNREADABLE:
                raise
            return Content(directory=directory, template=None, unreadable=True)
        if template is None:
            return Content(directory=directory, template=None)
        return with_artifacts(reads, bucket, directory, template)

    return at_once(read, directories)


def with_artifacts(
    reads: AwsReads, bucket: str, directory: Directory, template: Template
) -> Content:
    """Whether everything that the template names still exists, and what code it is.

    A HEAD an artifact, but for those that the bucket just listed and whose sha the template holds.
    """
    functions = templates.functions(template)
    declared = templates.version_shas(template)
    shas: dict[Artifact, str | None] = {
        one.artifact: declared[one.logical]
        for one in functions
        if one.artifact and declared.get(one.logical) and _listed(one.artifact, bucket, directory)
    }
    code = {one.artifact for one in functions if one.artifact}
    shas |= {artifact: reads.sha256(artifact, bucket) for artifact in code - shas.keys()}
    others = [one for one in templates.artifacts(template) if one not in code]
    missing = [one.key for one, sha in shas.items() if sha is None]
    missing += [one.key for one in others if not reads.exists(one, bucket)]
    known = {one.logical: one.image_sha for one in functions if one.image_sha}
    known |= {one.logical: shas[one.artifact] or "" for one in functions if one.artifact}
    digest = "" if missing else templates.code_digest(known)
    return Content(
        directory=directory, template=template, missing=tuple(sorted(missing)), code=digest
    )


def _listed(artifact: Artifact, bucket: str, directory: Directory) -> bool:
    return artifact.bucket in ("", bucket) and artifact.key in directory.keys


def deployment_of(
    content: Content,
    *,
    component: str,
    live: Template,
    periods: tuple[LivePeriod, ...],
    salt: bytes,
    evidence: tuple[Evidence, ...],
) -> Deployment:
    """One directory as a deployment, compared with the live template."""
    template = content.template
    details: dict[str, str | bool | int | None] = {}
    if template is not None:
        details = {
            "code": content.code,
            "template": templates.digest(template),
            "removals": SEPARATOR.join(templates.removals(live, template)),
            "removals_undo": SEPARATOR.join(templates.removals(template, live)),
        }
    return Deployment(
        component=component,
        id=content.directory.name,
        label=label_of(content.directory.at),
        commit=templates.commit_of(template) if template is not None else "",
        created_at=content.directory.at,
        live=periods,
        restorable=_restorable(content),
        config=fingerprints(template, salt) if template is not None else {},
        details=details,
        evidence=evidence,
    )


def fingerprints(template: Template, salt: bytes) -> Mapping[str, str]:
    """`FUNCTION.NAME` → keyed hash of the value; the key lives only as long as the process."""
    found = {}
    for function in templates.functions(template):
        for name, value in function.environment.items():
            text = json.dumps(value, sort_keys=True, default=str).encode()
            found[f"{function.label}.{name}"] = hmac.new(salt, text, sha256).hexdigest()
    return found


def label_of(at: datetime) -> str:
    """What a person recognises the directory by."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _restorable(content: Content) -> Restorability:
    if content.unreadable:
        return Barred(reason=f"its {TEMPLATE_FILE} is no JSON", reference=UNREADABLE)
    if content.template is None:
        return Gone(reason=f"{TEMPLATE_FILE} is no longer in the deployment bucket")
    if content.missing:
        return Gone(reason=f"{', '.join(content.missing)} is no longer in the bucket")
    if not templates.functions(content.template):
        return Barred(reason="its template has no function", reference="no-functions")
    return Restorable()
