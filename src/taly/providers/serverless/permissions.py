"""What rolling back Serverless Framework stacks needs of AWS.

Which actions can be narrowed to what is from the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html).
"""

from collections.abc import Iterable, Iterator

from taly.model.environment import Component
from taly.model.permissions import ANY, Ask, Needs, arn, partition, reads, region_of, writes
from taly.model.plan import Step, StepKind

PARAMETER = "parameter/serverless-framework/deployment/s3-bucket"


def _stack(component: Component, region: str) -> Iterator[str]:
    settings = component.settings
    name = settings.get("stack") or f"{settings.get('service', '')}-{settings.get('stage', '')}"
    yield arn("cloudformation", region_of(component, region), f"stack/{name}/*")


def _functions(component: Component, region: str) -> Iterator[str]:
    yield arn("lambda", region_of(component, region), "function:*")


def _bucket(component: Component, region: str) -> Iterator[str]:
    name = component.settings.get("bucket") or ANY
    yield f"arn:{partition(region_of(component, region))}:s3:::{name}"


def _objects(component: Component, region: str) -> Iterator[str]:
    for bucket in _bucket(component, region):
        yield f"{bucket}/*"


def _parameter(component: Component, region: str) -> Iterator[str]:
    if not component.settings.get("bucket"):
        yield arn("ssm", region_of(component, region), PARAMETER)


def _asks(step: Step) -> Iterator[Ask]:
    """Of a step that rolls back; one that ends what is stuck is asked by doing it."""
    if step.kind is not StepKind.ROLL_BACK:
        return
    region = step.address["region"]
    for action in ("CreateChangeSet", "ExecuteChangeSet"):
        yield Ask(
            component=step.component,
            action=f"cloudformation:{action}",
            resource=arn("cloudformation", region, f"stack/{step.address['stack']}/*"),
            region=region,
        )


def _remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    yield "functions are named by their stacks, not by taly.toml; narrow function:* to yours"
    yield (
        "CloudFormation changes a stack's resources with the caller's rights unless the stack "
        "has a role: add what your stacks contain (lambda:UpdateFunctionCode and the like)"
    )
    if any(not one.settings.get("bucket") for one in components):
        yield "set `bucket` on each service to narrow s3 to its deployment bucket"


NEEDS = Needs(
    grants=(
        reads(
            "ReadStacks",
            "cloudformation:DescribeChangeSet",
            "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "cloudformation:ListChangeSets",
            "cloudformation:ListStackResources",
            on=_stack,
        ),
        reads("ReadFunctions", "lambda:GetFunctionConfiguration", on=_functions),
        reads("ListArtifacts", "s3:ListBucket", on=_bucket),
        reads("ReadArtifacts", "s3:GetObject", on=_objects),
        reads("FindBucket", "ssm:GetParameter", on=_parameter),
        writes(
            "RollBackStacks",
            "cloudformation:ContinueUpdateRollback",
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteChangeSet",
            "cloudformation:ExecuteChangeSet",
            on=_stack,
        ),
    ),
    asks=_asks,
    remarks=_remarks,
)
"""No iam:PassRole: taly names no role, and CloudFormation then takes the stack's own, which the
caller need not be allowed to pass (API reference, CreateChangeSet, RoleARN)."""
