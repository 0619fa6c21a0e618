"""The emulated IAM and STS, as far as preflight asks them: who calls, and what may they do.

The caller is one user, whom everything is allowed but what the fault `iam-denied` names. See the
API references of GetCallerIdentity and SimulatePrincipalPolicy; a test holds the answers against
botocore's models.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.world import Fault, World

PRINCIPAL = "arn:aws:iam::123456789012:user/taly"
NAMESPACES = {
    "IAM": "https://iam.amazonaws.com/doc/2010-05-08/",
    "STS": "https://sts.amazonaws.com/doc/2011-06-15/",
}
SERVICE_OF = {"GetCallerIdentity": "STS", "SimulatePrincipalPolicy": "IAM"}
ENTITY = re.compile(r"arn:aws[\w-]*:iam::\d{12}:(user|group|role)/.+")
DENIED = "iam-denied"
"""The fault: `call` is the action that the caller may not do, or `iam:SimulatePrincipalPolicy`."""


class _Refused(Exception):
    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class IamEmulator:
    """Two services that are told apart by the operation; both speak the Query protocol."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wsgi = VendorApp(
            world=world,
            vendor="iam",
            handler=self._handle,
            targeted=lambda request: (_target(request), ""),
            refused=lambda _, fault: _failure(_Refused("ServiceFailure", "fault", fault.status)),
        )

    def _handle(self, request: Request) -> Reply:
        action = request.form.get("Action", "")
        try:
            response = self._answer(action, request.form)
        except _Refused as error:
            response = _failure(error)
        return Reply(response=response, target=_target(request), body=dict(request.form))

    def _answer(self, action: str, form: Mapping[str, str]) -> Response:
        match action:
            case "GetCallerIdentity":
                account = PRINCIPAL.split(":")[4]
                said = {"Arn": PRINCIPAL, "UserId": "AIDASANDBOX0000000000", "Account": account}
                return _success(action, said)
            case "SimulatePrincipalPolicy":
                return _success(action, self._simulated(form))
        raise _Refused("InvalidAction", f"Could not find operation {action}", 400)

    def _simulated(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        source = form.get("PolicySourceArn", "")
        if self._denies("iam:SimulatePrincipalPolicy"):
            text = f"User: {PRINCIPAL} is not authorized to perform: iam:SimulatePrincipalPolicy"
            raise _Refused("AccessDenied", f"{text} on resource: {source}", 403)
        if not ENTITY.fullmatch(source):
            text = f"Invalid Entity Arn: {source} does not clearly define entity type and name."
            raise _Refused("InvalidInput", text, 400)
        if source != PRINCIPAL:
            raise _Refused("NoSuchEntity", f"The entity {source} cannot be found.", 404)
        resources = list(_members(form, "ResourceArns")) or ["*"]
        denied = {name: self._denies(name) for name in _members(form, "ActionNames")}
        return {
            "IsTruncated": False,
            "EvaluationResults": [
                {
                    "EvalActionName": action,
                    "EvalResourceName": resource,
                    "EvalDecision": "implicitDeny" if is_denied else "allowed",
                    "MatchedStatements": [],
                    "MissingContextValues": [],
                }
                for action, is_denied in denied.items()
                for resource in resources
            ],
        }

    def _denies(self, action: str) -> bool:
        fault: Fault | None = self._world.faults.take(
            vendor="iam", component="", call=action, kinds=frozenset({DENIED})
        )
        return fault is not None


def _target(request: Request) -> str:
    action = request.form.get("Action", "")
    return f"{SERVICE_OF.get(action, 'IAM')}.{action}"


def _members(form: Mapping[str, str], name: str) -> Iterator[str]:
    number = 1
    while f"{name}.member.{number}" in form:
        yield form[f"{name}.member.{number}"]
        number += 1


def _success(action: str, result: Mapping[str, Any]) -> Response:
    namespace = NAMESPACES[SERVICE_OF[action]]
    return Response(
        f'<{action}Response xmlns="{namespace}"><{action}Result>{_xml(result)}</{action}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
        f"</{action}Response>",
        content_type="text/xml",
    )


def _failure(error: _Refused) -> Response:
    kind = "Sender" if error.status < 500 else "Receiver"
    return Response(
        f'<ErrorResponse xmlns="{NAMESPACES["IAM"]}"><Error><Type>{kind}</Type>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>",
        status=error.status,
        content_type="text/xml",
    )


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(inner)}</member>" for inner in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))
