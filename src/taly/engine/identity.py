"""Who acts: the operating system's user, and what a CI says of its job.

Names of the variables: GitHub "Variables reference", GitLab "Predefined CI/CD variables", Bitbucket
"Variables and secrets", CircleCI "Project values and variables", Jenkins "Building a software
project" and its plugin build-user-vars, Buildkite "Environment variables", Azure Pipelines
"Predefined variables", AWS CodeBuild "Environment variables in build environments".
"""

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from taly import __version__
from taly.model.events import Identity

MAX_TEXT = 200
"""Characters kept of what an environment says: a variable may hold megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    """One CI: by which variables it is known, and where it says who and which job."""

    name: str
    known_by: tuple[str, ...]
    actor: tuple[str, ...]
    """The first of these that is set."""
    job: str
    """With {VARIABLE}s; said only when all of them are set."""


SYSTEMS = (
    _System(
        name="GitHub Actions",
        known_by=("GITHUB_ACTIONS", "GITHUB_ACTOR"),
        actor=("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        job="{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    _System(
        name="GitLab CI",
        known_by=("GITLAB_CI", "GITLAB_USER_LOGIN"),
        actor=("GITLAB_USER_LOGIN",),
        job="{CI_JOB_URL}",
    ),
    _System(
        name="CircleCI",
        known_by=("CIRCLECI", "CIRCLE_USERNAME"),
        actor=("CIRCLE_USERNAME",),
        job="{CIRCLE_BUILD_URL}",
    ),
    _System(
        name="Buildkite",
        known_by=("BUILDKITE", "BUILDKITE_BUILD_CREATOR"),
        actor=("BUILDKITE_UNBLOCKER", "BUILDKITE_BUILD_CREATOR"),
        job="{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",
    ),
    _System(
        name="Bitbucket Pipelines",
        known_by=("BITBUCKET_BUILD_NUMBER", "BITBUCKET_STEP_TRIGGERER_UUID"),
        actor=("BITBUCKET_STEP_TRIGGERER_UUID",),
        job="https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
    ),
    _System(
        name="Azure Pipelines",
        known_by=("TF_BUILD",),
        actor=("BUILD_REQUESTEDFOR", "BUILD_QUEUEDBY"),
        job="{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
    ),
    _System(
        name="AWS CodeBuild",
        known_by=("CODEBUILD_BUILD_ARN",),
        actor=("CODEBUILD_INITIATOR",),
        job="{CODEBUILD_BUILD_ARN}",
    ),
    _System(
        name="Jenkins",
        known_by=("JENKINS_URL",),
        actor=("BUILD_USER_ID", "CHANGE_AUTHOR"),
        job="{BUILD_URL}",
    ),
)
"""Jenkins last: others set BUILD_URL too, none sets JENKINS_URL."""


def identity_of(environ: Mapping[str, str]) -> Identity:
    """Who acts in a process with this environment."""
    user = _clean(_user())
    host = _clean(socket.gethostname())
    for system in SYSTEMS:
        if any(environ.get(name) for name in system.known_by):
            actor = next((environ[name] for name in system.actor if environ.get(name)), "")
            return Identity(
                user=user,
                host=host,
                version=__version__,
                ci=system.name,
                actor=_clean(actor),
                job=_clean(_filled(system.job, environ)),
            )
    return Identity(user=user, host=host, version=__version__)


def by_of(identity: Identity) -> str:
    """The identity in a few words: the CI's user where there is one, else the machine's."""
    if identity.actor:
        return f"{identity.actor} ({identity.ci})"
    here = f"{identity.user}@{identity.host}"
    return f"{here} ({identity.ci})" if identity.ci else here


def _filled(template: str, environ: Mapping[str, str]) -> str:
    try:
        return template.format_map({name: value for name, value in environ.items() if value})
    except KeyError:
        return ""


def _clean(text: str) -> str:
    """Printable, and of a length that a line can hold."""
    return "".join(letter for letter in text[:MAX_TEXT] if letter.isprintable())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
