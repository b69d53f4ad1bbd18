"""Generates the tables of settings from the code: environment, run config, and the cluster's description."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import dagster as dg
from pydantic import BaseModel

import emr_pipelines
from docs.tables import code, fields, table
from emr_pipelines import environment
from emr_pipelines.assets.publication import AssetConfig
from emr_pipelines.automation.executor import in_process_by_default
from emr_pipelines.aws.deployment import DEFAULT_DEPLOYMENT
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.definitions import defs
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.target import RUNNERS
from emr_pipelines.spark_lines import LINES
from emr_pipelines.storage.address import DEFAULT_STORAGE

OWN = re.compile(r"EMR_PIPELINES_[A-Z_]+")
# a name that is read: environ.get("X"), environ["X"], environ.setdefault("X", ...), _number("X", ...), setting("X")
READ = re.compile(r'(?:environ|environment|_number|setting)(?:\.get|\.setdefault)?[\[(]"([A-Z][A-Z_]+)"')


class Variable(NamedTuple):
    default: str
    description: str


JAVAS = ", ".join(f"{oldest} to {newest} for Spark {line.spark}" for line in LINES for oldest, newest in [line.javas])
ROLES = {name: str(ClusterSpec.model_fields[name].default) for name in ("service_role", "instance_profile")}
DEFAULTS = {  # of the variables that have one
    "EMR_PIPELINES_TARGET": environment.target({}),
    "EMR_PIPELINES_STORAGE": DEFAULT_STORAGE,
    "EMR_PIPELINES_DEPLOYMENT": DEFAULT_DEPLOYMENT,
    "EMR_PIPELINES_SERVICE_ROLE": ROLES["service_role"],
    "EMR_PIPELINES_INSTANCE_PROFILE": ROLES["instance_profile"],
    "EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS": f"{environment.orphan_max_age_hours({}):g}",
    "EMR_PIPELINES_ORPHAN_DRY_RUN": str(environment.orphan_dry_run({})).lower(),
    "EMR_PIPELINES_MOST_IDLE_SHARE": f"{environment.most_idle_share({}):g}",
}
VARIABLES = {name: Variable(DEFAULTS.get(name, ""), about) for name, about in environment.VARIABLES.items()}
OTHERS = {
    "AWS_REGION": Variable("", "The region. By default `AWS_DEFAULT_REGION`, then the AWS profile's region."),
    "AWS_PROFILE": Variable(
        "default", "The profile with the credentials; its files are read again when credentials expire."
    ),
    "AWS_DEFAULT_PROFILE": Variable("", "The same; it wins over `AWS_PROFILE` when both are set."),
    "AWS_ACCESS_KEY_ID": Variable(
        "", "Credentials that win over both profile variables; a running process does not renew them."
    ),
    "AWS_ENDPOINT_URL": Variable(
        "", "An endpoint to use instead of AWS's, such as the emulator's; the AWS SDKs read it."
    ),
    "AWS_ENDPOINT_URL_EMR": Variable("", "The same, for EMR only."),
    "AWS_ENDPOINT_URL_EMR_SERVERLESS": Variable("", "The same, for EMR Serverless only."),
    "JAVA_HOME": Variable("", f"The Java for local Spark: {JAVAS}. By default one on the PATH, or pip's."),
    "SPARK_LOCAL_IP": Variable("127.0.0.1", "The address that local Spark binds to."),
    "LC_ALL": Variable(
        "", "`C` and `POSIX` become `C.UTF-8`, because otherwise Java cannot open paths that are not ASCII."
    ),
    "PIP_CONFIG_FILE": Variable(
        "", "The file with pip's settings; `REQUIREMENTS` come from the same index as for pip."
    ),
    "XDG_CONFIG_HOME": Variable("~/.config", "The folder with pip's settings, if there is no such file."),
    "TERM": Variable("", "If it is empty, `dumb` or `unknown`, progress appears as lines instead of a bar."),
    "PYTHONPATH": Variable("", "Passed on to Spark's Python workers."),
}


def read_by_the_package() -> set[str]:
    """The variables that the package's code reads by their names, and those of its own that it speaks of. The emulator
    has no settings but its options; what it reads so are its steps' and its requests' environments."""
    found: set[str] = set()
    for path in Path(emr_pipelines.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if path.name == "environment.py":  # it lists them all, read or not
            found |= set(READ.findall(text))
            continue
        found |= {*OWN.findall(text), *([] if "emulator" in path.parts else READ.findall(text))}
    return found


def parts() -> dict[str, Callable[[], str]]:
    return {
        "environment": lambda: _variables(VARIABLES),
        "other environment": lambda: _variables(OTHERS),
        **{f"run config of {name}": _fields(model) for name, model in configs().items()},
        "run config of the executor": executor,
        "cluster": _fields(ClusterSpec),
        "parts of a cluster": lambda: _parts(ClusterSpec),
        "application": _fields(ApplicationSpec),
        "parts of an application": lambda: _parts(ApplicationSpec),
    }


def _variables(variables: dict[str, Variable]) -> str:
    rows = [(code(name), code(found.default), found.description) for name, found in variables.items()]
    return table(("variable", "default", "what it is"), rows)


def _fields(model: type[BaseModel]) -> Callable[[], str]:
    return lambda: fields(model)


def configs() -> dict[str, type[BaseModel]]:
    """What run config sets, by the name of the asset or resource."""
    found: dict[str, type[BaseModel]] = {}
    for asset in defs.assets or ():
        function: Any = asset.op.compute_fn if isinstance(asset, dg.AssetsDefinition) else None
        config = function.decorated_fn.__annotations__.get("config") if function else None
        if config is not None and issubclass(config, AssetConfig):
            found[function.name] = config
    for name, resource in (defs.resources or {}).items():
        if isinstance(resource, SparkRunner):
            found |= {f"{name} with target {target}": runner for target, runner in RUNNERS.items()}
        else:
            found[name] = type(resource)
    return found


EXECUTORS = {
    "in_process": "All steps run in the run's process, one after the other, with one Spark context.",
    "multiprocess": "Each step runs in a process of its own, with its own Spark context for local programs.",
}


def executor() -> str:
    """Which executors there are, and how many processes at once."""
    schema: Any = in_process_by_default.config_schema
    field = schema.as_field()
    rows = [
        (code(name), code("{}") if name in field.default_value else "", EXECUTORS[name])
        for name in field.config_type.fields
    ]
    processes: Any = dg.multiprocess_executor.config_schema
    most = processes.config_type.fields["max_concurrent"].description.partition(". ")[0]
    return table(
        ("name", "default", "what it is"), [*rows, (code("multiprocess.max_concurrent"), "one per core", f"{most}.")]
    )


def _parts(whole: type[BaseModel]) -> str:
    """A section for each part of a description, and for their parts."""
    return "\n\n".join(
        f"### {model.__name__}\n\n{(model.__doc__ or '').strip()}\n\n{fields(model)}" for model in parts_of(whole)
    )


def parts_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models that a model is made of, each once, in the order in which one meets them."""
    found: dict[type[BaseModel], None] = {}
    for field in model.model_fields.values():
        for part in _models(field.annotation):
            if part is not model:
                found |= dict.fromkeys([part, *parts_of(part)])
    return list(found)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
