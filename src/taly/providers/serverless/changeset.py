"""The write: a change set of our own, looked at before it is executed.

A change set rather than UpdateStack, because its listing is what AWS itself says would be removed:
nothing goes that was not announced. Creating and deleting one does not touch the running stack;
the one write that does is ExecuteChangeSet.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from taly.aws import AwsClients, aws_errors, without_values
from taly.errors import VendorRefused
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent
from taly.providers.serverless import address as addresses
from taly.providers.serverless import template as templates
from taly.providers.serverless.aws_reads import AwsReads
from taly.providers.serverless.directories import TEMPLATE_FILE
from taly.providers.serverless.history import SEPARATOR
from taly.providers.serverless.template import HOLDS_DATA, REBUILT, RENEWED, Template

POLL_S = 2.0
PATIENCE_S = 900.0
UNSEEN_S = 30.0
"""For how long what was made may not be found."""
NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
ALLOW = "allow_removals"
REMOVES = "removes "
"""Key in a step's address: `removes <directory>` lists what going to that directory deletes."""


def token_of(key: str) -> str:
    """The ClientRequestToken of an attempt: CloudFormation takes letters, digits and hyphens."""
    return f"taly-{hashlib.sha256(key.encode()).hexdigest()[:40]}"


def s3_host(region: str) -> str:
    """Where S3 is; AWS's regions in China have a domain of their own."""
    return f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def announced(address: Mapping[str, str], directory: str) -> tuple[str, ...]:
    """What the step says that going to the directory deletes."""
    listed = address.get(f"{REMOVES}{directory}", "")
    return tuple(listed.split(SEPARATOR)) if listed else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSets:
    """Sends the change set of one step."""

    clients: AwsClients
    reads: AwsReads
    clock: Clock
    step: Step
    say: Say = silent

    def roll_back(self, key: str) -> Mapping[str, str]:
        """Create, look, execute. The receipt names the token, or says that nothing changes."""
        token, address = token_of(key), addresses.of_mapping(self.step.address)
        directory = str(self.step.wanted["directory"])
        place = f"{address.prefix}{directory}/{TEMPLATE_FILE}"
        template = self.reads.stored_template(address.bucket, place)
        if template is None:
            raise VendorRefused(
                f"{place} is no longer in bucket {address.bucket}",
                reference="target-gone",
                hint="taly releases",
            )
        stack = self.reads.stack(address.stack)
        made = self._create(token, address, place, template, stack)
        said = self._wait(made, address.stack)
        if said["Status"] == "FAILED":
            self._delete(made, address.stack)
            return self._nothing_to_do(said)
        self._demand_consent(said, made, address.stack, directory)
        self.say("")  # all that took time: whose run is it now?
        with aws_errors("cloudformation:ExecuteChangeSet"):
            self._write.execute_change_set(
                StackName=address.stack, ChangeSetName=made, ClientRequestToken=token
            )
        return {"token": token}

    def recover(self, key: str) -> Mapping[str, str]:
        """ContinueUpdateRollback: have a stuck rollback finish."""
        token = token_of(key)
        with aws_errors("cloudformation:ContinueUpdateRollback"):
            self._write.continue_update_rollback(
                StackName=self.step.address["stack"], ClientRequestToken=token
            )
        return {"token": token}

    @property
    def _write(self) -> Any:
        return self.clients.client("cloudformation", self.step.address["region"], attempts=1)

    def _create(
        self,
        name: str,
        address: addresses.Address,
        place: str,
        template: Template,
        stack: Mapping[str, Any],
    ) -> str:
        """CreateChangeSet; its ARN, which one of the same name that is gone does not share.

        Tags, RoleARN and NotificationARNs are left out: empty would remove.
        """
        known = [one["ParameterKey"] for one in stack.get("Parameters", [])]
        host = s3_host(address.region)
        wanted = {
            "StackName": address.stack,
            "ChangeSetName": name,
            "ChangeSetType": "UPDATE",
            "TemplateURL": f"https://{host}/{address.bucket}/{quote(place)}",
            "Parameters": templates.kept_parameters(template, known),
            "Capabilities": templates.capabilities(template),
            "Description": f"taly: back to {self.step.wanted['directory']}",
        }
        try:
            return self._send_create(wanted)
        except VendorRefused as error:
            if error.reference != "aws-already-exists-exception":
                raise _explained(error, address.stack) from error
            self._delete(name, address.stack)  # left by an attempt that died before executing it
            return self._send_create(wanted)

    def _send_create(self, wanted: Mapping[str, Any]) -> str:
        with aws_errors("cloudformation:CreateChangeSet"):
            return str(self._write.create_change_set(**wanted)["Id"])

    def _delete(self, name: str, stack: str) -> None:
        with aws_errors("cloudformation:DeleteChangeSet"):
            self._write.delete_change_set(StackName=stack, ChangeSetName=name)

    def _wait(self, made: str, stack: str) -> Mapping[str, Any]:
        """Poll until AWS has worked the change set out (boto3's waiter asks every 30 s)."""
        began = self.clock.monotonic()
        while True:
            waited = self.clock.monotonic() - began
            said = self._described(made, stack, may_lag=waited < UNSEEN_S)
            if said["Status"] in ("CREATE_COMPLETE", "FAILED"):
                return said
            if waited > PATIENCE_S:
                self._delete(made, stack)
                raise VendorRefused(
                    f"CloudFormation did not work out the change set in {PATIENCE_S:.0f} s",
                    reference="change-set-slow",
                    hint="taly status",
                )
            self.clock.sleep(POLL_S)

    def _described(
        self, made: str, stack: str, *, may_lag: bool = False, **more: str
    ) -> Mapping[str, Any]:
        """DescribeChangeSet. What was made a moment ago may not be found yet: reads lag."""
        try:
            with aws_errors("cloudformation:DescribeChangeSet"):
                said: Mapping[str, Any] = self._read.describe_change_set(
                    StackName=stack, ChangeSetName=made, **more
                )
                return said
        except VendorRefused as error:
            if error.reference != "aws-change-set-not-found" or not may_lag:
                raise
            return {"Status": "CREATE_PENDING"}

    @property
    def _read(self) -> Any:
        return self.clients.client("cloudformation", self.step.address["region"])

    def _nothing_to_do(self, said: Mapping[str, Any]) -> Mapping[str, str]:
        reason = str(said.get("StatusReason", ""))
        if any(words in reason for words in NOTHING_TO_DO):
            return {"no_changes": "yes"}
        raise VendorRefused(
            f"CloudFormation could not make the change set: {without_values(reason)}",
            reference="change-set-failed",
            hint="taly status",
        )

    def _demand_consent(
        self, said: Mapping[str, Any], name: str, stack: str, directory: str
    ) -> None:
        """Refuse, and clean up, if the listing removes what was not announced and allowed."""
        lost = tuple(sorted(self._lost(said, name, stack)))
        surprises = [one for one in lost if one not in announced(self.step.address, directory)]
        allowed = self.step.address.get(ALLOW) == "yes"
        if not surprises and (allowed or not lost):
            return
        self._delete(name, stack)
        if surprises:
            raise VendorRefused(
                f"going to {directory} would delete {', '.join(surprises)}, which the plan did not"
                " announce",
                reference="removal-unannounced",
                hint="taly plan",
            )
        raise VendorRefused(
            f"going to {directory} deletes {', '.join(lost)}",
            reference="removals-need-consent",
            hint="taly plan --allow-removals",
        )

    def _lost(self, said: Mapping[str, Any], name: str, stack: str) -> Iterator[str]:
        """What the listing takes away for good; `said` is its first page."""
        while True:
            for entry in said.get("Changes", []):
                change = entry["ResourceChange"]
                if destroys(change):
                    yield f"{change['ResourceType']} {change['LogicalResourceId']}"
            if not said.get("NextToken"):
                return
            said = self._described(name, stack, NextToken=said["NextToken"])


def destroys(change: Mapping[str, Any]) -> bool:
    """Whether a change of a change set's listing takes something away for good."""
    kind = change["ResourceType"]
    if "Retain" in str(change.get("PolicyAction", "")):  # ReplaceAndRetain, too
        return False
    if change["Action"] == "Remove":
        return kind not in RENEWED
    replacement = change.get("Replacement")
    if replacement == "Conditional":  # CloudFormation knows only while it executes
        return kind in HOLDS_DATA
    return replacement == "True" and kind not in REBUILT


def _explained(error: VendorRefused, stack: str) -> VendorRefused:
    """The refusal in words for a tired person, where AWS's own are not."""
    if "_IN_PROGRESS state" in error.message:
        return VendorRefused(
            f"stack {stack} is being changed by someone else",
            reference="stack-busy",
            hint="taly status",
        )
    if "can not be updated" in error.message:
        return VendorRefused(error.message, reference="stack-blocked", hint="taly status")
    return error
