"""Which frames of a traceback are shown."""

import pytest

from emr_pipelines.diagnosis.traceback_filter import own_frames

CODE = "/mnt/tmp/shipped_code-x1/shipped_code"
ENTRYPOINT = "/mnt/tmp/spark-1/" + "1b" * 32 + ".py"
ON_THE_CLUSTER = f'''Traceback (most recent call last):
  File "{ENTRYPOINT}", line 105, in main
    result = wire.encode(program(spark, params), "result")
                         ^^^^^^^^^^^^^^^^^^^^^^
  File "{CODE}/sales/revenue.py", line 12, in revenue
    return orders.groupBy("contry").sum()
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/sql/dataframe.py", line 3203, in groupBy
    jgd = self._jdf.groupBy(self._jcols(*cols))
  File "/usr/lib/spark/python/lib/py4j-0.10.9.7-src.zip/py4j/java_gateway.py", line 1322, in __call__
    return_value = get_return_value(
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/errors/exceptions/captured.py", line 185, in deco
    raise converted from None
pyspark.errors.AnalysisException: [UNRESOLVED_COLUMN] no column contry'''


def test_the_program_s_own_lines_stay_with_the_innermost_and_the_others_are_counted() -> None:
    assert own_frames(ON_THE_CLUSTER, "sales").split("\n") == [
        "Traceback (most recent call last):",
        "  ... 1 frame of Spark and of libraries",
        '  File "sales/revenue.py", line 12, in revenue',
        '    return orders.groupBy("contry").sum()',
        "  ... 3 frames of Spark and of libraries",
        "pyspark.errors.AnalysisException: [UNRESOLVED_COLUMN] no column contry",
    ]


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("/home/ann/sales/sales/revenue.py", True),
        ("/home/ann/sales/notebook.py", True),
        ("/home/ann/sales/.venv/lib/python3.11/site-packages/pyspark/sql/dataframe.py", False),  # the folder's name
        ("/home/ann/.venv/lib/python3.11/site-packages/sales/revenue.py", True),
        ("/home/ann/.venv/lib/python3.11/site-packages/sales.py", True),
        ("/home/ann/.venv/lib/python3.11/site-packages/salesforce/api.py", False),
        ("/usr/lib/python3.11/json/decoder.py", False),
        ("/usr/lib/python3/dist-packages/numpy/core.py", False),
        ("/mnt/tmp/dependencies-x1/unpacked/pandas/io.py", False),
        ("/usr/lib/spark/python/pyspark/worker.py", False),
        ("<frozen runpy>", False),
        (f"{CODE}/sales/revenue.py", True),
        ("/mnt/yarn/appcache/application_1/container_2/shipped_code/sales/revenue.py", True),
        ("/mnt/yarn/appcache/application_1/container_2/dependencies/pandas/io.py", False),
        (f"{CODE}/emr_pipelines/remote/driver.py", False),
        (ENTRYPOINT, False),
    ],
)
def test_whose_a_frame_is(path: str, stays: bool) -> None:
    text = f'Traceback (most recent call last):\n  File "{path}", line 1, in f\n  File "/x.py", line 2, in g\nE: no'
    shown = path.rpartition("/shipped_code/")[2]
    assert (shown in own_frames(text, "sales")) is stays


def test_a_worker_s_traceback_within_another_is_shortened_too() -> None:
    text = """Traceback (most recent call last):
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1247, in main
    process()
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1239, in process
    serializer.dump_stream(out_iter, outfile)
  File "/home/ann/revenue.py", line 7, in parse
    return int(line)
  [Previous line repeated 3 more times]
ValueError: invalid literal

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/ann/revenue.py", line 20, in revenue
    rows.collect()
RuntimeError: no rows"""
    shown = own_frames(text, "revenue")
    assert "worker.py" not in shown
    assert "  ... 2 frames of Spark and of libraries\n" in shown
    assert "  [Previous line repeated 3 more times]\nValueError: invalid literal\n\nThe above" in shown
    assert shown.endswith(
        '  File "/home/ann/revenue.py", line 20, in revenue\n    rows.collect()\nRuntimeError: no rows'
    )


@pytest.mark.parametrize("text", ["", "no traceback", '  File "x', "Traceback (most recent call last):\n", "a\n\nb"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert own_frames(text, "sales") == text


def test_without_a_package_what_is_no_library_s_stays() -> None:
    assert 'File "sales/revenue.py"' in own_frames(ON_THE_CLUSTER)
