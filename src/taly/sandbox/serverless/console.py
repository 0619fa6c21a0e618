"""What people do past the framework: hotfixes, console edits, lifecycle rules."""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taly.sandbox.serverless.framework import Framework
from taly.sandbox.serverless.moto_server import MotoServer, lambda_time
from taly.sandbox.serverless.service import Service, zip_of
from taly.sandbox.serverless.stacks import Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Changes of one service. Kinds, with their settings:

    - `hotfix`: `serverless deploy function` (function, commit)
    - `environment`: a variable set in Lambda's console (function, name, value; null removes it)
    - `delete-artifact`: an object deleted or expired (directory: name or index, -1 is the newest;
      what: zip, template or all)
    - `stack-status`: the stack brought to a state by hand (status)
    - `put-object`: any object in the bucket (key, body)
    """

    service: Service
    stack: Stack
    moto: MotoServer
    framework: Framework
    now: datetime

    def do(self, change: Mapping[str, Any]) -> None:
        """Make the change; KeyError for a kind that there is not."""
        {
            "hotfix": self._hotfix,
            "environment": self._environment,
            "delete-artifact": self._delete_artifact,
            "stack-status": self._stack_status,
            "put-object": self._put_object,
        }[change["kind"]](change)

    def commit_of(self, function: Any) -> str:
        """The commit that the function's code says it is; empty when it says none."""
        try:
            with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as archive:
                first = archive.read("handler.js").decode().splitlines()[0]
            return str(json.loads(first.removeprefix("const release = ").rstrip(";"))["commit"])
        except (zipfile.BadZipFile, KeyError, ValueError):
            return ""

    def _function(self, change: Mapping[str, Any]) -> Any:
        name = self.service.function_name(change.get("function", self.service.functions[0]))
        return self.moto.function(self.service.region, name)

    def _hotfix(self, change: Mapping[str, Any]) -> None:
        commit = str(change.get("commit", "h0tf1x"))
        code = zip_of(self.service, commit)
        function = self._function(change)
        function.update_function_code({"ZipFile": base64.b64encode(code).decode()})
        function.last_modified = lambda_time(self.now)

    def _environment(self, change: Mapping[str, Any]) -> None:
        function = self._function(change)
        variables = {**function.environment_vars, change["name"]: change.get("value")}
        function.environment_vars = {name: v for name, v in variables.items() if v is not None}
        function.last_modified = lambda_time(self.now)

    def _delete_artifact(self, change: Mapping[str, Any]) -> None:
        bucket = self.framework.bucket(self.service, self.stack)
        directories = self.framework.directories(self.service, bucket)
        wanted = change.get("directory", 0)
        directory = directories[wanted] if isinstance(wanted, int) else wanted
        ending = {"zip": ".zip", "template": "template.json", "all": ""}[change.get("what", "zip")]
        for key in self.moto.keys(bucket, f"{self.service.prefix}{directory}/"):
            if key.endswith(ending):
                self.moto.delete(bucket, key)

    def _stack_status(self, change: Mapping[str, Any]) -> None:
        self.stack.say(self.now, change["status"], "", "by hand")

    def _put_object(self, change: Mapping[str, Any]) -> None:
        bucket = self.framework.bucket(self.service, self.stack)
        body = str(change.get("body", "")).encode()
        self.moto.put(bucket, change["key"], body, "", self.now)
