"""The template allows what the code does on EMR Serverless, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import emr_pipelines
from docs.permissions import SERVERLESS, statements
from emr_pipelines.aws import client
from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.applications import Applications
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.cli import main
from emr_pipelines.runners.ledger import CostLedger
from tests.docs.policies import ACCOUNT, Wish, allowed, idle, loose, names
from tests.docs.recording import action_of
from tests.emr_env import Failed
from tests.serverless_env import made

DEPLOYMENT = "production"
NAMES = names(DEPLOYMENT)
SERVICE = "emr-serverless"
ARN = f"arn:aws:{SERVICE}:us-east-1:{ACCOUNT}:"
TAG = "emr_pipelines:deployment"
OF_JOB_RUNS = {"GetJobRun", "CancelJobRun", "GetDashboardForJobRun"}
OF_NO_DEPLOYMENT = {f"{SERVICE}:ListApplications", "servicequotas:ListServiceQuotas"}


def wishes_of(service: str, operation: str, request: dict[str, Any]) -> list[Wish]:
    """Return the permissions that a call needs."""
    action = action_of(operation)
    if service == "service-quotas":
        return [Wish(f"servicequotas:{action}")]
    if service == "iam":
        return [Wish(f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:role/{request['RoleName']}")]
    if action == "ListApplications":
        return [Wish(f"{SERVICE}:{action}")]
    if action == "CreateApplication":  # which sets tags in the caller's name
        requested = {f"aws:RequestTag/{TAG}": request["tags"][TAG]}
        return [Wish(f"{SERVICE}:{each}", f"{ARN}/", requested) for each in (action, "TagResource")]
    application = request.get("applicationId") or request["resourceArn"].rpartition("/")[2]
    resource = f"{ARN}/applications/{application}"
    if action in OF_JOB_RUNS:
        resource += f"/jobruns/{request['jobRunId']}"
    found = [Wish(f"{SERVICE}:{action}", resource, {f"aws:ResourceTag/{TAG}": DEPLOYMENT})]
    if action == "StartJobRun":
        passed = {"iam:PassedToService": f"{SERVICE}.amazonaws.com"}
        found.append(Wish("iam:PassRole", request["executionRoleArn"], passed))
    return found


@pytest.fixture(scope="module")
def wishes(tmp_path_factory: pytest.TempPathFactory) -> list[Wish]:
    """What the Dagster process and the command line ask of everything but S3 and STS, in the emulator."""
    found: list[Wish] = []
    with pytest.MonkeyPatch.context() as patched, made(tmp_path_factory.mktemp("account"), patched) as env:
        attempt = client.Aws._attempt

        def recording(
            self: Aws, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
        ) -> Any:
            if service not in ("s3", "sts", "pricing"):
                found.extend(wishes_of(service, operation, request))
            return attempt(self, service, operation, positional, once, request)

        patched.setattr(client.Aws, "_attempt", recording)
        patched.setenv("EMR_PIPELINES_TARGET", SERVICE)
        patched.setenv("EMR_PIPELINES_BUCKET", "emr-tests")
        patched.setenv("EMR_PIPELINES_DEPLOYMENT", DEPLOYMENT)
        patched.setenv("EMR_PIPELINES_EXECUTION_ROLE", NAMES["JobRole.Arn"])
        env.settings = {"execution_role": "", "application": {"name": "mine"}}
        env.run()
        CostLedger().entries([])
        env.program(seconds=100_000)
        with pytest.raises(Failed, match="was not done"):
            env.run(running_minutes=1)
        (run, *_), (application,) = env.job_runs, env.account.emulator.applications()
        for words in (("jobruns", "dashboard", run.id), ("applications", "stop", application.id), ("doctor",)):
            CliRunner().invoke(main, words)
        env.account.emulator.advance(600)
        spec = ApplicationSpec.parse({"name": "mine", "idle_timeout_minutes": 5})
        Applications(env.account.aws).acquire(spec, DEPLOYMENT)
    return found


def test_what_was_called_is_allowed_and_nothing_else_is(wishes: list[Wish]) -> None:
    policy = statements(SERVERLESS, NAMES)
    assert [wish for wish in wishes if not allowed(policy, wish)] == []
    assert idle(policy, wishes) == []
    assert loose(policy, wishes) == []


def test_nothing_of_one_deployment_is_allowed_to_another_s_role(wishes: list[Wish]) -> None:
    policy = statements(SERVERLESS, names("staging"))
    allowed_to_others = {wish.action for wish in wishes if allowed(policy, wish)}
    assert allowed_to_others <= OF_NO_DEPLOYMENT


def test_every_call_in_the_code_is_allowed_by_name() -> None:
    folder = Path(emr_pipelines.__file__).parent / "backends" / "emr_serverless"
    called = {
        f"{SERVICE}:{action_of(operation)}"
        for path in folder.rglob("*.py")
        for operation in re.findall(r'SERVICE,\s*"(\w+)"', path.read_text())
    }
    actions = {action for statement in statements(SERVERLESS, NAMES) for action in statement["Action"]}
    assert {action for action in actions if action.startswith(SERVICE)} == called
