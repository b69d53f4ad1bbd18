"""Which modules a program reaches: a table of small projects, which are not imported."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.imports import needs_dagster, walk, without_files
from emr_pipelines.job.modules import Home, find, home_of, projects_of, unit_of
from emr_pipelines.job.source import Certainty, source_of

RUN = "def run(spark, params: None) -> None: ...\n"
Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Write files into a folder on sys.path; unload their modules afterwards."""
    before = set(sys.modules)

    def write(files: dict[str, str], root: str = "src") -> Path:
        folder = tmp_path / root
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        invalidate_caches()
        return folder

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


PROJECTS: dict[str, tuple[dict[str, str], str, set[str]]] = {  # files, the program's module, the own modules it reaches
    "a script and its sibling": (
        {"i_job.py": "import i_helper", "i_helper.py": "", "i_other.py": ""},
        "i_job",
        {"i_job", "i_helper"},
    ),
    "a second top-level package": (
        {
            "i_jobs/__init__.py": "",
            "i_jobs/count.py": "from i_shared.io import read",
            "i_shared/__init__.py": "",
            "i_shared/io.py": "",
        },
        "i_jobs.count",
        {"i_jobs", "i_jobs.count", "i_shared", "i_shared.io"},
    ),
    "a namespace package": (
        {"i_acme/etl/count.py": "from i_acme.common import names", "i_acme/common/names.py": ""},
        "i_acme.etl.count",
        {"i_acme", "i_acme.etl", "i_acme.etl.count", "i_acme.common", "i_acme.common.names"},
    ),
    "relative imports": (
        {
            "i_rel/__init__.py": "",
            "i_rel/a/__init__.py": "from . import near",
            "i_rel/a/near.py": "from ..b import far",
            "i_rel/b/__init__.py": "",
            "i_rel/b/far.py": "from .... import beyond",
        },
        "i_rel.a",
        {"i_rel", "i_rel.a", "i_rel.a.near", "i_rel.b", "i_rel.b.far"},
    ),
    "imports in functions, classes and blocks": (
        {
            "i_in.py": (
                "def f():\n    import i_in_a\nclass C:\n    import i_in_b\nwith open('x') as f:\n    import i_in_c\n"
                "for _ in ():\n    import i_in_d\nelse:\n    import i_in_e\n"
                "match 1:\n    case 1:\n        import i_in_f\n"
            ),
            **{f"i_in_{letter}.py": "" for letter in "abcdef"},
        },
        "i_in",
        {"i_in", *(f"i_in_{letter}" for letter in "abcdef")},
    ),
    "a cycle": ({"i_ca.py": "import i_cb", "i_cb.py": "import i_ca"}, "i_ca", {"i_ca", "i_cb"}),
    "a star": (
        {
            "i_star.py": "from i_parts import *",
            "i_parts/__init__.py": "__all__ = ['one']",
            "i_parts/one.py": "",
            "i_parts/two.py": "",
        },
        "i_star",
        {"i_star", "i_parts", "i_parts.one"},
    ),
    "what only a type checker or a main script runs": (
        {
            "i_tc.py": (
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import i_tc_a\nelse:\n    import i_tc_b\n"
                "if not TYPE_CHECKING:\n    import i_tc_c\nif __name__ == '__main__':\n    import i_tc_d\n"
            ),
            **{f"i_tc_{letter}.py": "" for letter in "abcd"},
        },
        "i_tc",
        {"i_tc", "i_tc_b", "i_tc_c"},
    ),
    "a name that is written out, and one that PACKAGES names": (
        {
            "i_dyn.py": (
                "import importlib\nPACKAGES = ('i_plugins',)\ndef f(name):\n    importlib.import_module('i_dyn_a')\n"
                "    importlib.import_module(name)\n"
            ),
            "i_dyn_a.py": "",
            "i_plugins/__init__.py": "",
            "i_plugins/one.py": "import i_dyn_b",
            "i_plugins/deep/two.py": "",
            "i_dyn_b.py": "",
        },
        "i_dyn",
        {"i_dyn", "i_dyn_a", "i_plugins", "i_plugins.one", "i_plugins.deep", "i_plugins.deep.two", "i_dyn_b"},
    ),
    "a file that is no Python": ({"i_bad.py": "import i_worse", "i_worse.py": "def ("}, "i_bad", {"i_bad", "i_worse"}),
    "a module that is called as one of the standard library": (
        {"i_cal.py": "import antigravity\nimport json", "antigravity.py": ""},
        "i_cal",
        {"i_cal", "antigravity"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROJECTS)
def test_own_modules_that_a_program_reaches(project: Project, name: str) -> None:
    files, root, reached = PROJECTS[name]
    project(files)
    assert set(walk(root).own) == reached
    assert not set(reached) & set(sys.modules)  # nothing was imported
    import_names = {found.name for found in walk(root).leading_to(Home.LIBRARY, Home.DAGSTER)}
    assert import_names == set()


CERTAIN = """
import i_always
try:
    import i_caught
except (ValueError, ImportError):
    import i_fallback
from contextlib import suppress
with suppress(ImportError):
    import i_suppressed
import sys
if sys.version_info >= (3, 11):
    import i_new
elif sys.argv:
    import i_elif
else:
    import i_else
try:
    import i_tried
except KeyError:
    import i_handler
finally:
    import i_finally
def f():
    import i_later
    try:
        import i_later_caught
    except Exception:
        pass
    if sys.argv:
        import i_later_if
match sys.argv:
    case []:
        import i_match
for _ in sys.argv:
    import i_for
else:
    import i_for_else
while len(sys.argv) > 3:
    import i_while
while True:
    import i_endless
    break
if not TYPE_CHECKING:
    import i_no_checker
if TYPE_CHECKING or sys.argv:
    import i_maybe_checker
else:
    import i_else_of_checker
if typing.TYPE_CHECKING and sys.argv:
    import i_never_1
if __name__ != "__main__":
    import i_not_main
else:
    import i_never_2
if "__main__" == __name__:
    import i_never_3
else:
    import i_else_of_main
if __name__ == "shop.jobs":
    import i_by_name
if False:
    import i_never_4
"""
AT_IMPORT = "always tried finally endless no_checker not_main else_of_main"
LATER = "later"
MAYBE = (
    "caught fallback suppressed new elif else handler later_caught later_if match for for_else while maybe_checker "
    "else_of_checker by_name"
)


@pytest.mark.parametrize(
    ("least", "reached"),
    [
        (Certainty.ALWAYS, AT_IMPORT),
        (Certainty.LATER, f"{AT_IMPORT} {LATER}"),
        (Certainty.MAYBE, f"{AT_IMPORT} {LATER} {MAYBE}"),
    ],
)
def test_how_certain_an_import_is(project: Project, least: Certainty, reached: str) -> None:
    names = [*f"{AT_IMPORT} {LATER} {MAYBE}".split(), *(f"never_{number}" for number in range(1, 5))]
    project({"i_certain.py": CERTAIN, **{f"i_{name}.py": "" for name in names}})
    assert set(walk("i_certain", least).own) == {"i_certain", *(f"i_{name}" for name in reached.split())}


@pytest.mark.parametrize(
    "call",
    [
        "import importlib as lib\nlib.import_module('i_by_name_it.one')",
        "from importlib import import_module as load\nload('i_by_name_it.one')",
        "import importlib\nload = importlib.import_module\ndef f():\n    load(name='i_by_name_it.one')",
        "__import__('i_by_name_it.one', globals())",
        "import importlib\nimportlib.import_module('.one', package=__package__)",
        "from importlib import import_module\nimport_module('.one', __package__)",
    ],
)
def test_modules_that_are_imported_by_name(project: Project, call: str) -> None:
    project({"i_by_name_it/__init__.py": "", "i_by_name_it/one.py": "", "i_by_name_it/job.py": call})
    assert set(walk("i_by_name_it.job").own) == {"i_by_name_it", "i_by_name_it.job", "i_by_name_it.one"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("REQUIREMENTS = ('a',)\nREQUIREMENTS += ('b', 'c')", ("a", "b", "c")),
        ("REQUIREMENTS: tuple[str, ...]\nREQUIREMENTS = ['a']\nREQUIREMENTS += ['b']", ("a", "b")),
        ("if not TYPE_CHECKING:\n    REQUIREMENTS = ('a',)\nelse:\n    REQUIREMENTS = ('b',)", ("a",)),
        ("with x:\n    REQUIREMENTS = ('a',)", ("a",)),
        ("REQUIREMENTS = ('a',)\nif x:\n    REQUIREMENTS = ('a',)", ("a",)),
        ("def f():\n    REQUIREMENTS = ('a',)\nclass C:\n    REQUIREMENTS = ('b',)\nx[REQUIREMENTS] = 1", ()),
        ("REQUIREMENTS = ('a',)\nif x:\n    REQUIREMENTS += ('b',)", None),
        ("try:\n    import x\n    REQUIREMENTS = ('a',)\nexcept ImportError:\n    REQUIREMENTS = ()", None),
        ("REQUIREMENTS = ('a',)\nREQUIREMENTS += more", None),
        ("REQUIREMENTS, other = ('a',), 1", None),
    ],
)
def test_requirements_that_are_put_together(project: Project, text: str, expected: tuple[str, ...] | None) -> None:
    root = project({"i_declared.py": text})
    source = source_of(str(root / "i_declared.py"), "i_declared", is_package=False)
    assert source is not None
    if expected is not None:
        assert source.named_in("REQUIREMENTS") == expected
    else:
        with pytest.raises(InvalidValue, match=r"REQUIREMENTS of .* is 'computed'; allowed: a tuple of names, written"):
            source.named_in("REQUIREMENTS")


def test_a_star_imports_all_that_may_be_in_all(project: Project) -> None:
    names = ("one", "two", "three")
    project({
        "i_stars.py": "from i_all import *",
        "i_all/__init__.py": "__all__ = ['one']\n__all__ += ['two']\nif x:\n    __all__ += ['three']\n__all__ += more",
        **{f"i_all/{name}.py": "" for name in names},
    })  # fmt: skip
    assert set(walk("i_stars").own) == {"i_stars", "i_all", *(f"i_all.{name}" for name in names)}


def test_libraries_dagster_and_what_is_not_there_end_the_walk(project: Project) -> None:
    folder = project({
        "i_end.py": "import os, pyspark.sql, numpy.random, click, dagster, emr_pipelines.runners.emr, i_nowhere.x\n"
        "from emr_pipelines import Storage\nfrom emr_pipelines.remote import progress\nimport dagster_pipes\n",
    })  # fmt: skip
    found = walk("i_end")
    assert set(found.own) == {
        "i_end", "emr_pipelines", "emr_pipelines.remote", "emr_pipelines.remote.progress",
    }  # fmt: skip
    assert [other.name for other in found.leading_to(Home.LIBRARY)] == ["numpy", "click"]
    dagster = [str(other) for other in found.leading_to(Home.DAGSTER)]
    file = folder / "i_end.py"
    assert dagster == [
        f"{file}, line 1, imports dagster",
        f"{file}, line 1, imports emr_pipelines.runners",
        f"{file}, line 2, imports emr_pipelines.Storage",
    ]
    assert [other.name for other in found.leading_to(Home.ABSENT)] == ["i_nowhere"]


def test_a_module_that_has_no_source_file_is_reached_and_has_none(project: Project, tmp_path: Path) -> None:
    root = project({"i_odd.py": "import i_zipped, i_compiled"})
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as packed:
        packed.writestr("i_zipped.py", "")
    sys.path.insert(0, str(tmp_path / "i.zip"))
    (root / "i_compiled.so").write_bytes(b"")
    try:
        found = walk("i_odd").own
        assert (found["i_zipped"].source, found["i_compiled"].source) == (None, None)
        assert str(found["i_compiled"].place.file).endswith("i_compiled.so")
    finally:
        sys.path.remove(str(tmp_path / "i.zip"))


def test_what_is_installed_is_a_library_and_its_own_distribution_is_not(project: Project) -> None:
    """In an image, a project and its libraries are all in site-packages."""
    record = "i_site/__init__.py,,\ni_site/count.py,,\ni_site_common.py,,\ni_site-1.dist-info/RECORD,,\n"
    project(
        {
            "i_site/__init__.py": "",
            "i_site/count.py": "import i_site_common, i_third",
            "i_site_common.py": "",
            "i_third/__init__.py": "import i_fourth",
            "i_site-1.dist-info/RECORD": record,
            "i_third-1.dist-info/RECORD": "i_third/__init__.py,,\n",
        },
        "lib/python3.11/site-packages",
    )
    found = walk("i_site.count")
    assert set(found.own) == {"i_site", "i_site.count", "i_site_common"}
    assert [other.name for other in found.leading_to(Home.LIBRARY)] == ["i_third"]
    assert home_of("i_third") is Home.LIBRARY


def test_what_pip_puts_beside_own_code_is_a_library(project: Project) -> None:
    project({
        "i_beside.py": "import i_vendored, i_sibling",
        "i_sibling.py": "",
        "i_vendored/__init__.py": "",
        "i_vendored-1.dist-info/RECORD": "i_vendored/__init__.py,,\n",
    })  # fmt: skip
    found = walk("i_beside")
    assert set(found.own) == {"i_beside", "i_sibling"}
    assert [other.name for other in found.leading_to(Home.LIBRARY)] == ["i_vendored"]


def test_an_installed_package_that_packages_names_is_own_code(project: Project) -> None:
    project({"i_named.py": "PACKAGES = ('i_private',)\nimport i_private\n"})
    project({"i_private/__init__.py": "", "i_private/one.py": ""}, "lib/python3.11/site-packages")
    found = walk("i_named")
    assert set(found.own) == {"i_named", "i_private", "i_private.one"}
    assert found.leading_to(Home.LIBRARY) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("'i_no_such'", r"PACKAGES of .*i_typo\.py is 'i_no_such'; allowed: packages and modules that can be imported"),
        ("('i_no_such',)", r"PACKAGES of .*i_typo\.py is 'i_no_such'; allowed: packages and modules that can be"),
        ("(1,)", r"PACKAGES of .*i_typo\.py is \(1,\); allowed: a tuple of names, written out"),
        ("tuple(x for x in ())", r"PACKAGES of .*i_typo\.py is 'computed'; allowed: a tuple of names, written out"),
    ],
)
def test_packages_that_cannot_be_read_are_refused(project: Project, value: str, said: str) -> None:
    project({"i_typo.py": f"PACKAGES = {value}\n"})
    with pytest.raises(InvalidValue, match=said if value != "'i_no_such'" else "allowed: a tuple of names"):
        walk("i_typo")


def test_a_file_that_changes_is_read_again(project: Project) -> None:
    root = project({"i_edit.py": "import i_first", "i_first.py": "", "i_second.py": ""})
    assert set(walk("i_edit").own) == {"i_edit", "i_first"}
    (root / "i_edit.py").write_text("import i_second  # now")
    assert set(walk("i_edit").own) == {"i_edit", "i_second"}


def test_a_program_that_needs_dagster_is_told_from_one_that_does_not(project: Project) -> None:
    root = project({
        "i_pkg/__init__.py": "import dagster",
        "i_pkg/count.py": RUN,
        "i_ok/__init__.py": "try:\n    import dagster\nexcept ImportError:\n    pass\n",
        "i_ok/count.py": f"def f():\n    import dagster\n{RUN}",
        "i_far.py": f"import i_pkg_helper\n{RUN}",
        "i_pkg_helper.py": "from emr_pipelines import program_asset",
        "i_plain.py": f"from emr_pipelines import errors\nimport dagster_pipes\n{RUN}",
    })  # fmt: skip
    said = needs_dagster(import_module("i_pkg.count").run)
    assert said == (
        f"The program i_pkg.count:run cannot run on a cluster: {root}/i_pkg/__init__.py, line 1, imports dagster, and "
        "clusters have no Dagster. Keep the program, and what its module imports, in modules without Dagster."
    )
    far = needs_dagster(import_module("i_far").run)
    assert far is not None
    assert "i_pkg_helper.py, line 1, imports emr_pipelines.program_asset, and clusters have no Dagster" in far
    assert needs_dagster(import_module("i_ok.count").run) is None
    assert needs_dagster(import_module("i_plain").run) is None


def test_files_beside_a_module_that_is_in_no_package_do_not_travel(project: Project) -> None:
    root = project({
        "i_single.py": "from pathlib import Path\nimport i_whole, i_quiet\nHERE = Path(__file__).parent\n",
        "i_whole/__init__.py": "HERE = __file__\n",
        "i_quiet.py": "",
    })  # fmt: skip
    (said,) = without_files(walk("i_single"))
    assert said == (
        f"{root}/i_single.py uses __file__ and is in no package with an __init__.py, so files beside it do not travel: "
        "move it into such a package, or name the files in the runner's `files`."
    )


def test_files_beside_a_module_of_a_namespace_package_do_not_travel(project: Project) -> None:
    root = project({
        "i_space/jobs/count.py": "import i_space.whole.one\nHERE = __file__\n",
        "i_space/whole/__init__.py": "",
        "i_space/whole/one.py": "HERE = __file__\n",
    })  # fmt: skip
    (said,) = without_files(walk("i_space.jobs.count"))
    assert said.startswith(f"{root}/i_space/jobs/count.py uses __file__ and is in no package with an __init__.py, so")


def test_installed_parts_of_a_namespace_package_are_libraries(project: Project) -> None:
    """A company's packages may share a namespace: one is being developed, others are installed."""
    project(
        {
            "i_firm/common/__init__.py": "",
            "i_firm/ml/__init__.py": "",
            "i_firm/single.py": "",
            "i_firm_common-1.2.dist-info/RECORD": "i_firm/common/__init__.py,,\n",
            "i_firm_rest-1.dist-info/RECORD": "i_firm/ml/__init__.py,,\ni_firm/ml/deep/x.py,,\ni_firm/single.py,,\n",
        },
        "lib/python3.11/site-packages",
    )
    project({
        "i_firm/etl/__init__.py": "",
        "i_firm/etl/count.py": "import i_firm.common\nfrom i_firm import ml, single, tools, none\n",
        "i_firm/tools.py": "",
    })  # fmt: skip
    found = walk("i_firm.etl.count")
    assert set(found.own) == {"i_firm", "i_firm.etl", "i_firm.etl.count", "i_firm.tools"}
    assert [other.name for other in found.leading_to(Home.LIBRARY)] == ["i_firm.common", "i_firm.ml", "i_firm.single"]
    assert projects_of("i_firm.common") == ["i_firm_common"]
    assert projects_of("i_firm.ml.deep.x") == projects_of("i_firm.single") == ["i_firm_rest"]
    assert unit_of("i_firm.ml.deep.x") == "i_firm.ml"
    assert set(walk("i_firm.ml").own) == {"i_firm", "i_firm.ml"}  # an installed program is its own code


@pytest.mark.parametrize(
    ("module", "file", "installed"),
    [
        ("i_six", "i_six/i_six.py", True),  # in a folder with its own name
        ("i_six", "i_six/i_six/__init__.py", True),
        ("i_seven", "i_six/i_seven.py", False),
    ],
)
def test_the_folder_of_the_path_is_told_by_depth_and_not_by_name(
    project: Project, module: str, file: str, installed: bool
) -> None:
    record = f"{file.removeprefix('i_six/')},,\n" if installed else "other.py,,\n"
    folder = project({file: "", "i_six/x-1.dist-info/RECORD": record, "x-1.dist-info/RECORD": "i_seven.py,,\n"})
    sys.path.insert(0, str(folder / "i_six"))
    try:
        assert home_of(module) is (Home.LIBRARY if installed else Home.OWN)
    finally:
        sys.path.remove(str(folder / "i_six"))


def test_a_command_is_not_the_library_that_it_is_called_as(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project({"i_command.py": "import i_tool\n"})
    project({"i_tool/__init__.py": ""}, "lib/python3.11/site-packages")
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "bin" / "i_tool")
    monkeypatch.setitem(sys.modules, "__main__", main)
    found = walk("i_command")
    assert set(found.own) == {"i_command"}
    assert [other.name for other in found.leading_to(Home.LIBRARY)] == ["i_tool"]


MAIN = """
import i_main_helper
from emr_pipelines.job.imports import walk
from emr_pipelines.job.modules import module_name
def run(spark, params): ...
print(*sorted(name for name in walk(module_name(run)).own if not name.startswith("emr_pipelines")))
"""


@pytest.mark.parametrize(
    ("arguments", "name"), [(["shop/i_main.py"], "i_main"), (["-m", "shop.i_main"], "shop.i_main")]
)
def test_a_script_that_is_the_main_module(tmp_path: Path, arguments: list[str], name: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "i_main.py").write_text(MAIN)
    (tmp_path / ("shop" if name == "i_main" else "")).joinpath("i_main_helper.py").write_text("")
    ended: Any = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout.split() == sorted({"i_main_helper", name, *(["shop"] if "." in name else [])}), ended.stderr


@pytest.mark.parametrize(("started", "found"), [("bin/json", json.__file__), ("src/json.py", "{}/src/json.py")])
def test_a_console_script_is_not_the_module_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, found: str
) -> None:
    """For example, the command `pytest` tests a program that imports pytest."""
    main = ModuleType("__main__")
    main.__file__ = f"{tmp_path}/{started}"
    monkeypatch.setitem(sys.modules, "__main__", main)
    place = find("json")
    assert place is not None
    assert place.file == found.format(tmp_path)
