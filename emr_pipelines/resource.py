"""The base class of this package's resources: a Dagster resource that loses none of its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, get_args, get_origin

import dagster as dg
from dagster._config.field_utils import EnvVar, IntEnvVar
from dagster._config.pythonic_config.conversion_utils import copy_with_default
from dagster._core.definitions.definition_config_schema import DefinitionConfigSchema
from pydantic import ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator

from emr_pipelines.aws.redaction import HIDDEN, is_called_secret
from emr_pipelines.errors import EmrPipelinesError, InvalidValue

LOOKED_UP = (str, int, bool)  # the types of settings for which Dagster looks up environment variables


class StrictResource(dg.ConfigurableResource[None]):
    """A resource that refuses unknown settings, and whose settings in Python are the defaults of its run config.

    Dagster's own resources ignore unknown settings. And when run config sets one of them, Dagster resets all others
    to the defaults of the class: `EmrSparkRunner(bucket="b")` with the run config `{retries: 3}` would have no bucket.
    """

    def __init__(self, **settings: Any) -> None:
        """Raises InvalidValue, or another error of this package that a validator raises."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            mistake = first.get("ctx", {}).get("error")
            if not isinstance(mistake, InvalidValue) and is_called_secret(".".join(map(str, first["loc"]))):
                first["input"] = HIDDEN
            raise InvalidValue.first_of([first]) from None  # pydantic's error shows all input, secrets too
        self._use_as_defaults()

    def _use_as_defaults(self) -> None:
        """Make each setting the default of its field in run config; Dagster has one default for all of them together.

        Dagster offers no public way to do so. tests/test_resource.py fails when a new version of it needs another.
        """
        state = self._state__internal__
        told: dict[str, Any] = state.resolved_config_dict
        shape: Any = state.schema.config_type
        fields = {
            name: copy_with_default(field, told[name]) if name in told else field
            for name, field in shape.fields.items()
        }
        schema = dg.Field(dg.Shape(fields), description=state.schema.description)  # type: ignore[no-untyped-call]
        self._state__internal__ = state._replace(config_schema=DefinitionConfigSchema(schema))

    def _with_updated_values(self, values: Mapping[str, Any] | None) -> Any:
        """Return the resource for assets, with this run's config; a Refused if the config is invalid.

        An error raised here would reach the user as a stack trace of Dagster's code, without its cause.
        """
        try:
            return super()._with_updated_values(values)
        except EmrPipelinesError as mistake:
            return Refused(mistake)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, settings: Any) -> Any:
        reject_unknown(cls, settings)
        return settings

    @field_validator("*", mode="wrap")
    @classmethod
    def _looked_up(cls, told: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Leave environment variables for Dagster to look up when a run begins; refuse those that it cannot."""
        name = str(info.field_name)
        hint = cls.model_fields[name].annotation
        within = get_args(hint)[-1] if get_origin(hint) in (list, dict) else Any
        members = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
        for key, member in members:
            if within is not Any and within not in LOOKED_UP:
                _refuse_variable(f"{name}.{key}", member)
        if not isinstance(told, (EnvVar, IntEnvVar)):
            return check(told)
        if hint not in LOOKED_UP:
            _refuse_variable(name, told)
        return told


class Refused:
    """Stands in for a resource whose run config is invalid: any use of it fails the step with one sentence."""

    def __init__(self, mistake: EmrPipelinesError) -> None:
        self._mistake = mistake

    @contextmanager
    def yield_for_execution(self, _: dg.InitResourceContext) -> Iterator[Refused]:
        yield self

    def setup_for_execution(self, _: dg.InitResourceContext) -> None:
        """Dagster calls this method, and the next, on a resource without a teardown."""

    def create_resource(self, _: dg.InitResourceContext) -> Refused:
        return self

    def __getattr__(self, _: str) -> Any:
        self.refuse()

    def refuse(self) -> NoReturn:
        raise dg.Failure(str(self._mistake), allow_retries=False)


def reject_unknown(config: type[dg.Config], settings: Any) -> None:
    """Raise InvalidValue for a setting that the class does not have; Dagster and pydantic ignore it in Python."""
    for name in settings if isinstance(settings, Mapping) else ():
        if name not in config.model_fields:
            raise InvalidValue.unknown(f"A setting of {config.__name__}", name, config.model_fields)


def _refuse_variable(name: str, told: object) -> None:
    if isinstance(told, (EnvVar, IntEnvVar)):
        allowed = "a value: Dagster looks up variables only for texts, whole numbers, and true or false"
        raise InvalidValue(name, {"env": told.env_var_name}, allowed)
