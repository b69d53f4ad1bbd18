"""Applications: find the one that a description is about, create it at most once, change it, or refuse it.

CreateApplication has a client token, so one whose response was lost is asked for again and gives the same application.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.backends.emr_serverless.states import AT_REST, USABLE, ApplicationState
from emr_pipelines.backends.names import PRODUCT
from emr_pipelines.clock import poll
from emr_pipelines.errors import InvalidValue, NotFound, RequestRefused
from emr_pipelines.job.package import digest_of

SERVICE = "emr-serverless"
DEPLOYMENT_TAG, SPEC_TAG = "emr_pipelines:deployment", "emr_pipelines:spec"
LONGEST_DEPLOYMENT = 36  # of a deployment's name, in an application's of 64 characters
CREATED_SECONDS = 120.0  # within which an application that is being created can be used


@dataclass(frozen=True)
class Application:
    """An application as EMR Serverless describes it. told: GetApplication's response."""

    id: str
    name: str
    state: ApplicationState
    release: str
    architecture: str = "X86_64"
    tags: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"application {self.id} ({self.name or 'without a name'})"


def name_of(spec: ApplicationSpec, deployment: str) -> str:
    """Return the name of the application that a description makes."""
    return spec.name or f"{PRODUCT}/{deployment[:LONGEST_DEPLOYMENT]}/{spec.digest}"


class Applications:
    """The applications of the account, in one region. Each call may raise the AwsErrors."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def describe(self, application_id: str) -> Application:
        return self._aws.call(SERVICE, "get_application", applicationId=application_id, read=_application)  # type: ignore[no-any-return]

    def each(self, states: frozenset[ApplicationState] = USABLE) -> Iterator[Application]:
        """Yield the applications in some states, without their tags."""
        for page in self._aws.pages(SERVICE, "list_applications", states=sorted(map(str, states))):
            for summary in page.get("applications", []):
                yield _summary(summary)

    def stop(self, application_id: str) -> None:
        self._aws.call(SERVICE, "stop_application", applicationId=application_id)

    def acquire(self, spec: ApplicationSpec, deployment: str) -> tuple[Application, bool]:
        """Return the application of a description, and whether it was created now.

        Raises InvalidValue for one that exists and does not fit.
        """
        if spec.id:
            return self._given(spec, spec.id), False
        name = name_of(spec, deployment)
        there = next((found for found in self.each() if found.name == name), None)
        if there is None:
            return self._create(spec, name, deployment), True
        found = self.describe(there.id)
        if found.tags.get(DEPLOYMENT_TAG) != deployment:
            owner = found.tags.get(DEPLOYMENT_TAG, "")
            allowed = f"another name: {found} belongs to {f'deployment {owner!r}' if owner else 'no deployment'}"
            raise InvalidValue("application.name", name, f"{allowed}; application.id uses it as it is")
        if found.tags.get(SPEC_TAG) != spec.digest:
            self._change(found, spec)
            found = self.describe(found.id)
        return found, False

    def _given(self, spec: ApplicationSpec, application_id: str) -> Application:
        """Return the user's own application. Raises InvalidValue if programs for this description cannot run on it."""
        try:
            found = self.describe(application_id)
        except NotFound as error:
            allowed = "the id of an application in this account and region"
            raise InvalidValue("application.id", application_id, allowed) from error
        asked = "ARM64" if spec.architecture == "arm64" else "X86_64"
        if found.state not in USABLE:
            raise InvalidValue("application.id", application_id, f"one that was not deleted; it is {found.state}")
        if str(found.told.get("type", "SPARK")).upper() != "SPARK":
            raise InvalidValue("application.id", application_id, f"one for Spark; its type is {found.told['type']}")
        if found.architecture != asked:
            other = "arm64" if found.architecture == "ARM64" else "x86_64"
            raise InvalidValue("application.architecture", spec.architecture, f"{other}, which {found} has")
        if "release_label" in spec.model_fields_set and found.release != spec.release_label:
            raise InvalidValue("application.release_label", spec.release_label, f"{found.release}, which {found} has")
        return found

    def _create(self, spec: ApplicationSpec, name: str, deployment: str) -> Application:
        # a deleted application keeps its token, so each one that was deleted makes another token
        before = sum(found.name == name for found in self.each(frozenset({ApplicationState.TERMINATED})))
        request = {
            **spec.request(),
            "name": name,
            "tags": {**spec.tags, DEPLOYMENT_TAG: deployment, SPEC_TAG: spec.digest},
        }
        token = digest_of([deployment, request, before])
        made = self._aws.call(SERVICE, "create_application", **request, clientToken=token)
        return poll(
            self._aws.clock,
            lambda: self.describe(made["applicationId"]),
            CREATED_SECONDS,
            lambda found: found.state is not ApplicationState.CREATING,
        )

    def _change(self, found: Application, spec: ApplicationSpec) -> None:
        if found.state not in AT_REST:
            raise InvalidValue(
                "application",
                found.name,
                f"its old description while {found} is {found.state}: it changes when it is stopped, by itself after "
                f"its idle timeout, or by aws emr-serverless stop-application --application-id {found.id}",
            )
        request = {key: value for key, value in spec.request().items() if key != "type"}
        token = digest_of([found.id, request])
        self._aws.call(SERVICE, "update_application", applicationId=found.id, clientToken=token, **request)
        if arn := found.told.get("arn"):
            self._aws.call(SERVICE, "tag_resource", resourceArn=arn, tags={**spec.tags, SPEC_TAG: spec.digest})


def check_capacity(application: Application, needed: Mapping[str, int]) -> None:
    """Raise InvalidValue when a driver and an executor do not fit into an application's maximum."""
    told = application.told.get("maximumCapacity", {})
    for ours, theirs in (("cpu", "cpu"), ("memory_gb", "memory"), ("disk_gb", "disk")):
        most = "".join(letter for letter in str(told.get(theirs, "")) if letter.isdigit())
        if most and needed[ours] > int(most):
            allowed = f"workers that fit: a driver and an executor need {needed[ours]:,}"
            raise InvalidValue(f"The maximum {theirs} of {application}", told[theirs], allowed)


def _application(answer: Mapping[str, Any]) -> Application:
    told = answer["application"]
    return Application(
        told["applicationId"],
        told.get("name", ""),
        ApplicationState(told["state"]),
        told["releaseLabel"],
        told.get("architecture", "X86_64"),
        told.get("tags", {}),
        told,
    )


def _summary(told: Mapping[str, Any]) -> Application:
    if "id" not in told:
        raise RequestRefused(f"{SERVICE}.list_applications returned an application without an id.")
    return Application(
        told["id"],
        told.get("name", ""),
        ApplicationState(told["state"]),
        told.get("releaseLabel", ""),
        told.get("architecture", "X86_64"),
        told=told,
    )
