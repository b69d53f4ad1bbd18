"""Links to AWS's console."""

import pytest

from emr_pipelines.aws.links import cluster_page, objects_page, quota_page

CONSOLE = "https://eu-west-1.console.aws.amazon.com"


@pytest.mark.parametrize("endpoint", [None, "https://vpce-1.elasticmapreduce.eu-west-1.vpce.amazonaws.com"])
def test_clusters_and_logs_are_in_the_console(monkeypatch: pytest.MonkeyPatch, endpoint: str | None) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR"):
        monkeypatch.delenv(name, raising=False)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EMR", endpoint)
    assert cluster_page("eu-west-1", "j-1") == f"{CONSOLE}/emr/home?region=eu-west-1#/clusterDetails/j-1"
    assert objects_page("eu-west-1", "s3://b/logs/a b") == (
        f"{CONSOLE}/s3/buckets/b?region=eu-west-1&prefix=logs/a%20b/"
    )


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
        ("eu-central-9", "https://eu-central-9.console.aws.amazon.com"),
    ],
)
def test_each_partition_has_a_console_of_its_own(monkeypatch: pytest.MonkeyPatch, region: str, console: str) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR"):
        monkeypatch.delenv(name, raising=False)
    assert cluster_page(region, "j-1") == f"{console}/emr/home?region={region}#/clusterDetails/j-1"
    assert objects_page(region, "s3://b/logs") == f"{console}/s3/buckets/b?region={region}&prefix=logs/"


@pytest.mark.parametrize("region", ["us-iso-east-1", "us-isob-east-1", "eusc-de-east-1", "elsewhere"])
def test_where_no_console_is_known_there_is_no_link(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR"):
        monkeypatch.delenv(name, raising=False)
    assert cluster_page(region, "j-1") == f"cluster j-1 in the EMR console of {region}"
    assert objects_page(region, "s3://b/logs") == "s3://b/logs"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR"])
def test_an_emulator_on_this_machine_has_a_page_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:5566/")
    assert cluster_page("eu-west-1", "j-1") == "http://127.0.0.1:5566/_emulator/clusters/j-1"
    assert objects_page("eu-west-1", "s3://b/logs/") == "s3://b/logs/"


def test_a_quota_has_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    there = f"{CONSOLE}/servicequotas/home/services/ec2/quotas"
    assert quota_page("eu-west-1", "ec2", "L-1216C47A") == f"{there}/L-1216C47A?region=eu-west-1"
    assert quota_page("eu-west-1", "ec2") == f"{there}?region=eu-west-1"
