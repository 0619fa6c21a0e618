"""The JSON that the emulated Vercel answers with, in the shapes of the vendor's own SDK (1.28)."""

from typing import Any

from taly.sandbox.vercel.model import Build, Job, ProjectData, Rollout, identifier, ms
from taly.sandbox.vercel.paging import page_of

LINK = {
    "type": "github",
    "org": "taly",
    "repo": "platform",
    "productionBranch": "main",
    "gitCredentialId": "",
    "deployHooks": [],
}
ACL = ["create", "delete", "read", "update", "list"]
USER_ID = identifier("user", "sandbox")


def team_id(slug: str) -> str:
    """The id of the team with that slug."""
    return identifier("team", slug)


def owner_id(project: ProjectData) -> str:
    """The id of the team, or of the person, that a project belongs to."""
    return team_id(project.switches.team) if project.switches.team else USER_ID


def meta(build: Build) -> dict[str, str]:
    """What the Git integration says of a deployment."""
    return {
        "githubCommitSha": build.commit,
        "githubCommitMessage": build.message,
        "githubCommitRef": "main",
        "githubDeployment": "1",
    }


def is_candidate(project: ProjectData, build: Build) -> bool:
    """Whether the vendor offers the deployment for an instant rollback."""
    if not build.served or build.gone or build.id == project.live:
        return False
    return project.switches.plan != "hobby" or build.id == project.previous


def listed(project: ProjectData, build: Build) -> dict[str, Any]:
    """A deployment as `GET /v7/deployments` lists it."""
    said: dict[str, Any] = {
        "uid": build.id,
        "name": project.name,
        "projectId": project.id,
        "url": build.host,
        "created": ms(build.created_at),
        "createdAt": ms(build.created_at),
        "buildingAt": ms(build.created_at),
        "state": build.state,
        "readyState": build.state,
        "source": "git",
        "type": "LAMBDAS",
        "creator": {"uid": USER_ID, "username": "sandbox"},
        "meta": meta(build),
        "target": build.target,
        "aliasError": None,
        "aliasAssigned": ms(build.assigned_at) if build.assigned_at else None,
        "isRollbackCandidate": is_candidate(project, build),
        "inspectorUrl": f"https://vercel.com/{project.name}/{build.id[4:]}",
    }
    if build.ready_at:
        said["ready"] = ms(build.ready_at)
    if build.substate:
        said["readySubstate"] = build.substate
    if build.gone:
        said["softDeletedByRetention"] = True
        said["deleted"] = ms(build.created_at)
    return said


def single(project: ProjectData, build: Build) -> dict[str, Any]:
    """A deployment as `GET /v13/deployments/{idOrUrl}` shows it."""
    said = listed(project, build)
    for key in ("uid", "created", "state", "isRollbackCandidate"):
        del said[key]
    said |= {
        "id": build.id,
        "ownerId": owner_id(project),
        "plan": project.switches.plan,
        "status": build.state,
        "alias": aliases_of(project, build),
        "aliasAssigned": build.assigned_at is not None,
        "aliasAssignedAt": ms(build.assigned_at) if build.assigned_at else None,
        "public": False,
        "regions": ["fra1"],
        "routes": [],
        "version": 2,
        "createdIn": "fra1",
        "bootedAt": ms(build.created_at),
        "buildSkipped": False,
        "env": [],
        "build": {"env": []},
        "projectSettings": {"framework": "nextjs"},
        "project": {"id": project.id, "name": project.name},
    }
    if project.switches.team:
        slug = project.switches.team
        said["team"] = {"id": team_id(slug), "slug": slug, "name": slug}
    if build.state == "ERROR":
        said |= {"errorCode": "BUILD_FAILED", "errorMessage": "Command exited with 1"}
    return said


def partial(project: ProjectData, build: Build) -> dict[str, Any]:
    """A deployment as a project's aliases, targets and latest deployments show it."""
    said = single(project, build)
    keys = ("id", "url", "name", "createdAt", "createdIn", "creator", "meta", "plan", "target")
    return {key: said[key] for key in (*keys, "readyState", "type", "alias")} | {
        "readySubstate": build.substate or None,
        "readyAt": said.get("ready"),
        "aliasAssigned": said["aliasAssignedAt"],
        "deploymentHostname": build.host.removesuffix(".vercel.app"),
        "private": False,
    }


def aliases_of(project: ProjectData, build: Build) -> list[str]:
    """The names that point to a deployment."""
    return [alias.domain for alias in project.aliases if alias.deployment == build.id]


def job(said: Job | None) -> dict[str, Any] | None:
    """`lastAliasRequest`."""
    if said is None:
        return None
    return {
        "fromDeploymentId": said.from_id,
        "toDeploymentId": said.to_id,
        "jobStatus": said.status,
        "requestedAt": ms(said.requested_at),
        "type": said.type,
    }


def project(data: ProjectData, *, rollback_info: bool) -> dict[str, Any]:
    """A project as `GET /v9/projects/{idOrName}` shows it."""
    live = data.build(data.live)
    newest = [partial(data, build) for build in reversed(data.builds) if not build.gone][:2]
    said: dict[str, Any] = {
        "id": data.id,
        "name": data.name,
        "accountId": owner_id(data),
        "createdAt": ms(data.created_at),
        "updatedAt": ms(data.updated_at or data.created_at),
        "autoAssignCustomDomains": data.auto_assign,
        "autoAssignCustomDomainsUpdatedBy": "system",
        "alias": [alias(data, number) for number in range(len(data.aliases))],
        "targets": {"production": partial(data, live)} if live else {},
        "latestDeployments": newest,
        "deploymentExpiration": {
            "expirationDaysProduction": data.switches.retention_days,
            "deploymentsToKeep": data.switches.keep,
        },
        "directoryListing": False,
        "framework": "nextjs",
        "nodeVersion": "22.x",
        "link": LINK,
        "resourceConfig": {"functionDefaultRegions": ["fra1"]},
        "defaultResourceConfig": {"functionDefaultRegions": ["fra1"]},
        "live": not data.paused,
        "permissions": permissions(data),
    }
    if data.paused:
        said["paused"] = True
    if data.rollout is not None:
        said["rollingRelease"] = {"target": "production", "stages": stages(data.rollout)}
    if rollback_info:
        said["lastAliasRequest"] = job(data.job)
        said["lastRollbackTarget"] = {"id": data.rollback_target} if data.rollback_target else None
    return said


def permissions(data: ProjectData) -> dict[str, list[str]]:
    """What the token may do with the project."""
    if data.role != "owner":
        return {"project": ["read", "list"], "deployment": ["read", "list"]}
    names = ("project", "deployment", "deploymentRollback", "deploymentPromote")
    return {name: list(ACL) for name in names}


def alias(data: ProjectData, number: int) -> dict[str, Any]:
    """One of `project.alias[]`."""
    one = data.aliases[number]
    build = data.build(one.deployment) if one.deployment else None
    return {
        "configuredBy": "A",
        "createdAt": ms(data.created_at),
        "domain": one.domain,
        "environment": "production" if one.target == "PRODUCTION" else "preview",
        "target": one.target,
        "redirect": one.redirect,
        "deployment": partial(data, build) if build else None,
    }


def stages(rollout: Rollout) -> list[dict[str, Any]]:
    """The stages of a rolling release."""
    return [{"targetPercentage": rollout.percentage, "duration": 10}, {"targetPercentage": 100}]


def rolling_release(data: ProjectData) -> dict[str, Any] | None:
    """What `GET /v1/projects/{id}/rolling-release` says."""
    rollout = data.rollout
    if rollout is None:
        return None
    shown = [{"index": index, **stage} for index, stage in enumerate(stages(rollout))]
    active = rollout.state == "ACTIVE"
    current, canary = data.build(rollout.current), data.build(rollout.canary)
    return {
        "state": rollout.state,
        "substate": None,
        "currentDeployment": partial(data, current) if current else None,
        "canaryDeployment": partial(data, canary) if canary else None,
        "queuedDeploymentId": rollout.queued,
        "advancementType": "automatic",
        "stages": shown,
        "activeStage": shown[0] if active else None,
        "nextStage": shown[1] if active else None,
        "startedAt": ms(rollout.started_at),
        "updatedAt": ms(rollout.started_at),
    }


def domains(data: ProjectData) -> dict[str, Any]:
    """The names in the project's domain settings (`GET /v9/projects/{id}/domains`)."""
    rows = [
        {
            "name": one.domain,
            "apexName": ".".join(one.domain.split(".")[-2:]),
            "projectId": data.id,
            "redirect": one.redirect,
            "gitBranch": None,
            "createdAt": ms(data.created_at),
            "verified": True,
        }
        for one in data.aliases
        if one.in_settings
    ]
    return {"domains": rows, "pagination": page_of(rows)}


def env(data: ProjectData) -> dict[str, Any]:
    """The environment variables: names and times, never a value."""
    rows = [
        {
            "id": identifier("env", data.name, variable.key)[4:20],
            "key": variable.key,
            "type": "sensitive",
            "target": ["production"],
            "securityIssues": [],
            "createdAt": ms(variable.created_at),
            "updatedAt": ms(variable.updated_at),
        }
        for variable in data.env
    ]
    return {"envs": rows}
