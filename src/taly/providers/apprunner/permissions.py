"""What rolling back on App Runner needs of AWS.

Which actions can be narrowed to what is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsapprunner.html).
"""

from collections.abc import Iterable, Iterator

from taly.model.environment import Component
from taly.model.permissions import Ask, Grant, Needs, any_resource, arn, region_of
from taly.model.plan import Step


def _service(component: Component, region: str) -> Iterator[str]:
    """Named by its ARN, or by a name that a random id follows in the ARN."""
    name = component.settings.get("service", "")
    known = region_of(component, region)
    yield name if name.startswith("arn:") else arn("apprunner", known, f"service/{name}/*")


def _repositories(component: Component, region: str) -> Iterator[str]:
    yield arn("ecr", region_of(component, region), "repository/*")


def _asks(step: Step) -> Iterator[Ask]:
    yield Ask(
        component=step.component,
        action="apprunner:UpdateService",
        resource=step.address["arn"],
        region=step.address["region"],
    )


def _remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    yield "images may lie in any repository of the region; narrow it to yours"
    yield "ecr:PutImage is used only where a service refuses a digest, to tag the image"


NEEDS = Needs(
    grants=(
        Grant(
            sid="ReadServices",
            part="read",
            actions=("apprunner:DescribeService", "apprunner:ListOperations"),
            resources=_service,
        ),
        Grant(
            sid="FindServices",
            part="read",
            actions=("apprunner:ListServices", "cloudtrail:LookupEvents"),
            resources=any_resource,
        ),
        Grant(
            sid="ReadImages",
            part="read",
            actions=("ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetLifecyclePolicy"),
            resources=_repositories,
        ),
        Grant(
            sid="RollBackServices",
            part="write",
            actions=("apprunner:UpdateService",),
            resources=_service,
        ),
        Grant(
            sid="TagImages",
            part="write",
            actions=("ecr:PutImage",),
            resources=_repositories,
        ),
    ),
    passes_roles_to="build.apprunner.amazonaws.com",  # the image's access role
    asks=_asks,
    remarks=_remarks,
)
