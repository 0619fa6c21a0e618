"""ECR: repositories, images and their tags.

Emulates the operations that a rollback asks (Amazon ECR API reference). Moving a tag leaves the
old image there, untagged. A miss in BatchGetImage is an entry of `failures`, not an error.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from taly.sandbox.awsjson import Action, AwsError, Result, epoch, page, without_none
from taly.sandbox.cloudtrail import Trail
from taly.sandbox.emulator import Outcome
from taly.sandbox.world import VirtualClock

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
SOURCE = "ecr.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What an image holds: the application at one commit."""

    commit: str
    outcome: Outcome = "ok"
    schema_version: int = 1
    """The version of the database schema that its code was written for."""
    fails: Literal["all", "lists"] = "all"
    """What of a broken one fails: everything, or only what customers see of their bookings."""


@dataclass(slots=True, kw_only=True)
class Image:
    """One image; its digest is the hash of its manifest."""

    manifest: str
    pushed_at: datetime
    build: Build
    tags: set[str] = field(default_factory=set)

    @property
    def digest(self) -> str:
        """`sha256:…`."""
        return "sha256:" + hashlib.sha256(self.manifest.encode()).hexdigest()


@dataclass(slots=True, kw_only=True)
class Repository:
    """The images of one component."""

    name: str
    uri: str
    component: str
    created_at: datetime
    images: dict[str, Image] = field(default_factory=dict)
    lifecycle: str = ""
    """The lifecycle policy's text; empty = none."""

    def tagged(self, tag: str) -> Image | None:
        """The image that has this tag now."""
        return next((image for image in self.images.values() if tag in image.tags), None)

    def move_tag(self, tag: str, image: Image) -> None:
        """Give the tag to this image; the one that had it stays, perhaps untagged."""
        for other in self.images.values():
            other.tags.discard(tag)
        image.tags.add(tag)


class Registry:
    """The account's private registry. The caller holds the lock."""

    def __init__(
        self,
        clock: VirtualClock,
        trail: Trail,
        *,
        account: str,
        region: str,
        pushed: Callable[[Repository, str, datetime], None],
    ) -> None:
        """`pushed(repository, tag, at)` is called when a tag is put on another image."""
        self._clock = clock
        self._trail = trail
        self._account = account
        self._region = region
        self._pushed = pushed
        self.repositories: dict[str, Repository] = {}
        self.actions: Mapping[str, Action] = {
            "DescribeRepositories": self._describe_repositories,
            "DescribeImages": self._describe_images,
            "ListImages": self._list_images,
            "BatchGetImage": self._batch_get_image,
            "PutImage": self._put_image,
            "GetLifecyclePolicy": self._get_lifecycle_policy,
        }

    def create(self, name: str, component: str) -> Repository:
        """A new, empty repository."""
        uri = f"{self._account}.dkr.ecr.{self._region}.amazonaws.com/{name}"
        made = Repository(name=name, uri=uri, component=component, created_at=self._clock.now())
        self.repositories[name] = made
        return made

    def by_uri(self, uri: str) -> Repository | None:
        """The repository that an image identifier names."""
        return next((repo for repo in self.repositories.values() if repo.uri == uri), None)

    def push(self, repo: Repository, build: Build, tags: tuple[str, ...], at: datetime) -> Image:
        """A `docker push` of a fresh build under each tag. A rebuild of a commit is a new image."""
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MEDIA_TYPE,
                "config": {"created": at.isoformat(), "revision": build.commit, "repo": repo.name},
            },
            sort_keys=True,
        )
        image = Image(manifest=manifest, pushed_at=at, build=build)
        repo.images[image.digest] = image
        for tag in tags:
            self._tag(repo, image, tag, at, user="ci")
        return image

    def expire_by_lifecycle(self, now: datetime) -> None:
        """Delete what the lifecycle policies no longer keep (they count from the push)."""
        for repo in self.repositories.values():
            for rule in _rules(repo.lifecycle):
                for digest in [d for d, image in repo.images.items() if _expired(rule, image, now)]:
                    del repo.images[digest]

    def _tag(self, repo: Repository, image: Image, tag: str, at: datetime, *, user: str) -> None:
        repo.move_tag(tag, image)
        identity = {"imageDigest": image.digest, "imageTag": tag}
        self._trail.record(
            "PutImage",
            source=SOURCE,
            at=at,
            request={
                "registryId": self._account,
                "repositoryName": repo.name,
                "imageTag": tag,
                "imageManifest": image.manifest,
            },
            response={
                "image": {
                    "registryId": self._account,
                    "repositoryName": repo.name,
                    "imageId": identity,
                    "imageManifest": image.manifest,
                }
            },
            resources=(self._arn(repo),),
            user=user,
        )
        self._pushed(repo, tag, at)

    def _arn(self, repo: Repository) -> str:
        return f"arn:aws:ecr:{self._region}:{self._account}:repository/{repo.name}"

    def _repository(self, body: Mapping[str, Any]) -> Repository:
        return self._named(str(body.get("repositoryName", "")), body.get("registryId"))

    def _named(self, name: str, registry: str | None = None) -> Repository:
        registry = registry or self._account
        if name not in self.repositories or registry != self._account:
            raise AwsError(
                "RepositoryNotFoundException",
                f"The repository with name '{name}' does not exist in the registry with id "
                f"'{registry}'",
            )
        return self.repositories[name]

    def _describe_repositories(self, body: Mapping[str, Any]) -> Result:
        names = body.get("repositoryNames") or sorted(self.repositories)
        repos, token = _paged(body, [self._named(name) for name in names])
        listed = [
            {
                "repositoryArn": self._arn(repo),
                "registryId": self._account,
                "repositoryName": repo.name,
                "repositoryUri": repo.uri,
                "createdAt": epoch(repo.created_at),
                "imageTagMutability": "MUTABLE",
                "imageScanningConfiguration": {"scanOnPush": False},
                "encryptionConfiguration": {"encryptionType": "AES256"},
            }
            for repo in repos
        ]
        return Result(body=without_none({"repositories": listed, "nextToken": token}))

    def _describe_images(self, body: Mapping[str, Any]) -> Result:
        repo = self._repository(body)
        if asked := body.get("imageIds"):
            found = [self._existing(repo, identity) for identity in asked]
        else:
            found = [image for image in repo.images.values() if _has_status(image, body)]
        images, token = _paged(body, found)
        details = [
            without_none(
                {
                    "registryId": self._account,
                    "repositoryName": repo.name,
                    "imageDigest": image.digest,
                    "imageTags": sorted(image.tags) or None,
                    "imageSizeInBytes": 104_857_600,
                    "imagePushedAt": epoch(image.pushed_at),
                    "imageManifestMediaType": MEDIA_TYPE,
                    "imageStatus": "ACTIVE",
                }
            )
            for image in images
        ]
        return Result(body=without_none({"imageDetails": details, "nextToken": token}))

    def _existing(self, repo: Repository, identity: Mapping[str, str]) -> Image:
        image = _find(repo, identity)
        if isinstance(image, str):
            raise AwsError(
                "ImageNotFoundException",
                f"The image with imageId {dict(identity)} does not exist within the repository "
                f"with name '{repo.name}' in the registry with id '{self._account}'",
            )
        return image

    def _list_images(self, body: Mapping[str, Any]) -> Result:
        identities: list[dict[str, str]] = []
        for image in self._repository(body).images.values():
            if _has_status(image, body):
                tagged = [{"imageTag": tag} for tag in sorted(image.tags)] or [{}]
                identities += [{"imageDigest": image.digest, **tag} for tag in tagged]
        listed, token = _paged(body, identities)
        return Result(body=without_none({"imageIds": listed, "nextToken": token}))

    def _batch_get_image(self, body: Mapping[str, Any]) -> Result:
        repo = self._repository(body)
        images: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        for identity in body.get("imageIds", []):
            image = _find(repo, identity)
            if isinstance(image, str):
                failures.append(
                    {
                        "imageId": dict(identity),
                        "failureCode": image,
                        "failureReason": "Requested image not found",
                    }
                )
            else:
                images.append(self._image(repo, image, identity.get("imageTag")))
        return Result(body={"images": images, "failures": failures})

    def _put_image(self, body: Mapping[str, Any]) -> Result:
        repo = self._repository(body)
        manifest, tag = str(body.get("imageManifest", "")), str(body.get("imageTag", ""))
        digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
        if body.get("imageDigest", digest) != digest:
            raise AwsError("ImageDigestDoesNotMatchException", "The digest does not match.")
        image = repo.images.get(digest)
        if image is None:
            raise AwsError(
                "LayersNotFoundException",
                f"The specified layers could not be found in the repository '{repo.name}'",
            )
        if not tag or tag in image.tags:
            raise AwsError(
                "ImageAlreadyExistsException",
                f"Image with digest '{digest}' and tag '{tag}' already exists in the repository "
                f"with name '{repo.name}' in registry with id '{self._account}'",
            )
        self._tag(repo, image, tag, self._clock.now(), user="operator")
        return Result(body={"image": self._image(repo, image, tag)}, wrote=True)

    def _image(self, repo: Repository, image: Image, tag: str | None) -> dict[str, Any]:
        return {
            "registryId": self._account,
            "repositoryName": repo.name,
            "imageId": without_none({"imageDigest": image.digest, "imageTag": tag}),
            "imageManifest": image.manifest,
            "imageManifestMediaType": MEDIA_TYPE,
        }

    def _get_lifecycle_policy(self, body: Mapping[str, Any]) -> Result:
        repo = self._repository(body)
        if not repo.lifecycle:
            raise AwsError(
                "LifecyclePolicyNotFoundException",
                f"Lifecycle policy does not exist for the repository with name '{repo.name}'",
            )
        return Result(
            body={
                "registryId": self._account,
                "repositoryName": repo.name,
                "lifecyclePolicyText": repo.lifecycle,
                "lastEvaluatedAt": epoch(self._clock.now()),
            }
        )


def lifecycle_policy(days: int, tag_status: str = "any") -> str:
    """A policy with one rule: images expire so many days after their push."""
    rule = {
        "rulePriority": 1,
        "description": f"Expire images {days} days after their push",
        "selection": {
            "tagStatus": tag_status,
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": days,
        },
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]})


def _find(repo: Repository, identity: Mapping[str, str]) -> Image | str:
    """The image, or the failure code that says why there is none."""
    digest, tag = identity.get("imageDigest"), identity.get("imageTag")
    if not digest and not tag:
        return "MissingDigestAndTag"
    image = repo.images.get(digest) if digest else repo.tagged(tag or "")
    if image is None:
        return "ImageNotFound"
    if digest and tag and tag not in image.tags:
        return "ImageTagDoesNotMatchDigest"
    return image


def _paged(body: Mapping[str, Any], items: list[Any]) -> tuple[list[Any], str | None]:
    return page(
        items,
        size=int(body.get("maxResults") or 100),
        token=body.get("nextToken"),
        bad_token="InvalidParameterException",
    )


def _has_status(image: Image, body: Mapping[str, Any]) -> bool:
    status = str(body.get("filter", {}).get("tagStatus", "ANY"))
    return status == "ANY" or (status == "TAGGED") == bool(image.tags)


def _rules(policy: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads(policy)["rules"] if policy else []
    return rules


def _expired(rule: Mapping[str, Any], image: Image, now: datetime) -> bool:
    selection = rule["selection"]
    if selection["countType"] != "sinceImagePushed":
        return False
    if selection["tagStatus"] == "untagged" and image.tags:
        return False
    kept = timedelta(days=int(selection["countNumber"]))
    expires_at: datetime = image.pushed_at + kept
    return expires_at <= now
