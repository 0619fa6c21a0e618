"""The shipped scenarios, each up as its own process: what a user finds in them."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import boto3
import psycopg
import pytest

from taly.sandbox.vendors import MARK
from tests.e2e.conftest import until

pytestmark = pytest.mark.xdist_group("sandbox-scenarios")  # they share sandboxes

R1, R2, R3, R4 = "18a3d05", "05a19a6", "f6d00fc", "fd7a521"
SandboxFactory = Callable[..., Any]


def page(url: str) -> tuple[int, str]:
    """Status and body, as a visitor gets them."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def aws(sandbox: Any, service: str) -> Any:
    """A boto3 client that knows nothing but the sandbox's environment."""
    environ = sandbox.environ
    return boto3.client(
        service,
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_REGION"],
    )


def applied(sandbox: Any) -> list[str]:
    """The migrations in Prisma's ledger."""
    with psycopg.connect(sandbox.environ["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


@pytest.fixture
def taly(sandbox: SandboxFactory) -> Any:
    return sandbox("taly", shared=True)


def test_the_default_platform_has_ten_components_live_at_the_bad_release(taly: Any) -> None:
    state = taly.control.state()
    assert len(state["components"]) == 10
    for name in ("dashboard", "booking", "payments"):
        status, body = page(taly.url(name))
        assert (status, R4 in body) == (500, True), name
    status, body = page(taly.url("backend") + "/health")
    assert status == 500
    assert json.loads(body)["version"].startswith(R4)
    for name, service in state["vendors"]["serverless"].items():
        commits = {one["commit"][:7] for one in service["functions"].values()}
        assert commits == {R4}, name
    assert applied(taly)[1:] == [
        "20250203101500_booking_note",
        "20250303093000_booking_channel",
        "20250407140000_waiting_list",
    ]
    assert state["problems"] == []


def test_its_bookings_are_taken_and_nobody_sees_them(taly: Any) -> None:
    taly.control.set_writers(4)
    until(taly.control.writers, what="customers book")
    assert page(taly.url("backend") + "/bookings")[0] == 500
    assert {one["outcome"] for one in taly.control.writers()} == {"acknowledged"}
    with psycopg.connect(taly.environ["DATABASE_URL"]) as connection:
        counts = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE status = 'waitlisted'),"
            " (SELECT count(*) FROM refunds) FROM bookings"
        ).fetchone()
    assert counts is not None
    assert counts[0] > 3200
    assert counts[1] >= 25
    assert counts[2] >= 30


def test_its_ci_made_a_checkpoint_of_what_the_migration_destroyed(taly: Any) -> None:
    listed = json.loads(taly.taly("checkpoint", "list", "--json").stdout)["checkpoints"]
    assert [one["pending"] for one in listed] == [["20250407140000_waiting_list"]]
    assert listed[0]["after"]["applied"] == ["20250407140000_waiting_list"]
    destroyed = {one["table"]: (one["columns"], one["rows"]) for one in listed[0]["destroyed"]}
    assert destroyed == {"bookings": (["id", "channel"], 3000)}


def test_where_the_database_is_kept_the_migration_only_added(sandbox: SandboxFactory) -> None:
    kept = sandbox("taly-kept", shared=True)
    assert applied(kept)[-1] == "20250407140000_booking_currency"
    assert kept.control.writers() == []


def test_its_migrations_lie_in_the_directory_as_prisma_lays_them_out(taly: Any) -> None:
    folder = taly.directory / "prisma" / "migrations"
    on_disk = sorted(entry.parent.name for entry in folder.glob("*/migration.sql"))
    assert on_disk == applied(taly)


def test_the_same_address_is_all_of_aws(taly: Any) -> None:
    services = aws(taly, "apprunner").list_services()["ServiceSummaryList"]
    assert [one["ServiceName"] for one in services] == ["taly-backend"]
    operations = aws(taly, "apprunner").list_operations(ServiceArn=services[0]["ServiceArn"])
    assert {one["Status"] for one in operations["OperationSummaryList"]} == {"SUCCEEDED"}
    images = aws(taly, "ecr").describe_images(repositoryName="taly-backend")["imageDetails"]
    assert len(images) == 4
    attribute = {"AttributeKey": "EventName", "AttributeValue": "PutImage"}
    events = aws(taly, "cloudtrail").lookup_events(LookupAttributes=[attribute])["Events"]
    assert len(events) >= 4
    stacks = aws(taly, "cloudformation").describe_stacks()["Stacks"]
    assert "process-payment-production" in {one["StackName"] for one in stacks}
    assert len(aws(taly, "lambda").list_functions()["Functions"]) == 7
    assert aws(taly, "sts").get_caller_identity()["Account"] == "123456789012"
    assert aws(taly, "ssm").describe_parameters()["Parameters"] == []


def test_a_presigned_address_reaches_the_bucket(taly: Any) -> None:
    s3 = aws(taly, "s3")
    bucket = next(
        one["Name"] for one in s3.list_buckets()["Buckets"] if "process-payment" in one["Name"]
    )
    key = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    assert page(url)[0] == 200


def test_calls_are_journaled_by_service_and_without_secrets(taly: Any) -> None:
    last = taly.control.calls()[-1]["number"] if taly.control.calls() else 0
    arn = aws(taly, "apprunner").list_services()["ServiceSummaryList"][0]["ServiceArn"]
    described = aws(taly, "apprunner").describe_service(ServiceArn=arn)
    assert MARK in json.dumps(described, default=str), "AWS answers in plain text"
    aws(taly, "lambda").get_function_configuration(FunctionName="process-payment-production-charge")
    calls = taly.control.calls(after=last)
    assert [call["vendor"] for call in calls] == ["apprunner", "apprunner", "serverless"]
    assert calls[1]["target"] == "AppRunner.DescribeService"
    assert calls[1]["component"] == "backend"
    assert taly.control.writes(after=last) == []
    assert MARK not in json.dumps([taly.control.calls(), taly.control.state()])


def test_taly_works_on_it_from_its_directory(taly: Any) -> None:
    done = taly.taly("sandbox", "status", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["directory"] == str(taly.directory)


def test_the_small_one_has_a_component_of_each_vendor(sandbox: SandboxFactory) -> None:
    small = sandbox("taly-small", shared=True)
    vendors = [one["vendor"] for one in small.control.state()["components"].values()]
    assert sorted(vendors) == ["apprunner", "netlify", "postgres", "serverless", "vercel"]


def test_the_expired_image_is_gone_and_the_one_before_is_not(sandbox: SandboxFactory) -> None:
    state = sandbox("expired-image", shared=True).control.state()
    images = state["vendors"]["apprunner"]["repositories"]["backend"]
    commits = {image["commit"][:7] for image in images}
    assert R3 not in commits
    assert {R2, R4} <= commits


def test_the_bad_builds_are_in_flight(sandbox: SandboxFactory) -> None:
    one = sandbox("in-flight", speed=1)
    for name in ("dashboard", "payments"):
        assert R4 in page(one.url(name))[1]
    text = json.dumps(one.control.state()["vendors"])
    assert text.count("a39791e136e35484c8c5da3882efb9b37edb70f1") >= 2
    one.control.clock(advance_s=660)
    for name in ("dashboard", "payments"):
        assert "a39791e" in page(one.url(name))[1], name


def test_the_breaking_migration_renamed_what_the_old_code_reads(sandbox: SandboxFactory) -> None:
    one = sandbox("breaking-migration", shared=True)
    with psycopg.connect(one.environ["DATABASE_URL"]) as connection:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT price_cents FROM bookings")
        connection.rollback()
        connection.execute("SELECT price_minor FROM bookings")


def test_the_console_changes_were_made(sandbox: SandboxFactory) -> None:
    one = sandbox("console-change", shared=True)
    arn = aws(one, "apprunner").list_services()["ServiceSummaryList"][0]["ServiceArn"]
    source = aws(one, "apprunner").describe_service(ServiceArn=arn)["Service"][
        "SourceConfiguration"
    ]
    variables = source["ImageRepository"]["ImageConfiguration"]["RuntimeEnvironmentVariables"]
    assert variables["LOG_LEVEL"] == "debug"
    assert variables["STRIPE_API_KEY"].startswith(MARK)
    assert R3 in page(one.url("dashboard"))[1]
    state = one.control.state()["vendors"]
    assert state["netlify"]["payments"]["locked"] is True
    commits = {
        name: function["commit"][:7]
        for name, function in state["serverless"]["taly-send-email"]["functions"].items()
    }
    assert commits == {"send": "a39791e", "bounced": R4}


def test_the_flaky_one_has_faults_armed(sandbox: SandboxFactory) -> None:
    kinds = {fault["kind"] for fault in sandbox("flaky", shared=True).control.faults()}
    assert kinds == {"refuse", "delay", "lose-reply", "lose-request"}


def test_ci_that_deploys_the_newest_commit_again_changes_no_function(
    sandbox: SandboxFactory,
) -> None:
    """The framework compares with the newest directory: "No changes to deploy"."""
    one = sandbox("console-change", shared=True)
    before = one.control.state()["vendors"]["serverless"]["taly-send-email"]
    one.control.push(R4, vendors=["serverless"])
    after = one.control.state()["vendors"]["serverless"]["taly-send-email"]
    assert after["directories"] == before["directories"]
    assert after["last_deploy"] == "no changes to deploy"
