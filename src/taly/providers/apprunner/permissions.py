"""What rolling back on App Runner needs of AWS.

Which actions can be narrowed to what is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsapprunner.html).
"""

from collections.abc import Iterable, Iterator
from functools import partial

from taly.model.environment import Component
from taly.model.permissions import (
    Ask,
    Needs,
    any_resource,
    arn,
    partition,
    reads,
    region_of,
    writes,
)
from taly.model.plan import Step
from taly.providers.apprunner.identifiers import Identifier


def _service(component: Component, region: str) -> Iterator[str]:
    """Named by its ARN, or by a name that a random id follows in the ARN."""
    name = component.settings.get("service", "")
    known = region_of(component, region)
    yield name if name.startswith("arn:") else arn("apprunner", known, f"service/{name}/*")


def _repositories(component: Component, region: str) -> Iterator[str]:
    yield arn("ecr", region_of(component, region), "repository/*")


TAGGED = "where a service refuses a digest"

BUILD = "build.apprunner.amazonaws.com"
"""Takes on the role that may pull the image: UpdateService passes it again each time."""


def _asks(step: Step) -> Iterator[Ask]:
    region, address = step.address["region"], step.address
    ask = partial(Ask, component=step.component, region=region)
    yield ask(action="apprunner:UpdateService", resource=address["arn"])
    if role := address.get("role"):
        yield ask(action="iam:PassRole", resource=role, passed_to=BUILD)
    in_ecr = Identifier(repository=address.get("repository", "")).in_ecr
    if "registryId" in in_ecr:
        place = f"{region}:{in_ecr['registryId']}:repository/{in_ecr['repositoryName']}"
        resource = f"arn:{partition(region)}:ecr:{place}"
        yield ask(action="ecr:PutImage", resource=resource, only_if=TAGGED)


def _remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    yield "images may lie in any repository of the region; narrow it to yours"
    yield f"ecr:PutImage is used only {TAGGED}, to tag the image"


NEEDS = Needs(
    grants=(
        reads(
            "ReadServices",
            "apprunner:DescribeService",
            "apprunner:ListOperations",
            on=_service,
        ),
        reads(
            "FindServices",
            "apprunner:ListServices",
            "cloudtrail:LookupEvents",
            on=any_resource,
        ),
        reads(
            "ReadImages",
            "ecr:BatchGetImage",
            "ecr:DescribeImages",
            "ecr:GetLifecyclePolicy",
            on=_repositories,
        ),
        writes("RollBackServices", "apprunner:UpdateService", on=_service),
        writes("TagImages", "ecr:PutImage", on=_repositories),
    ),
    passes_roles_to=BUILD,
    asks=_asks,
    remarks=_remarks,
)
