"""The pages of the documentation: links resolve, and the names in them exist in the code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml
from documentation import (
    PAGES,
    ROOT,
    code_lines,
    page_id,
    spans,
    tables,
    tracked,
    without_code,
)

from emf_ros.cli.main import _parser
from emf_ros.nodes.param_specs import default_text
from emf_ros.nodes.params import NODES
from emf_ros.reasons import Reason

SOURCES = tracked("*.py", "*.yaml", "*.msg", "*.rviz", "*.xml", "Makefile", "*.toml", "*.cfg")
FILE_NAMES = {path.name for path in tracked("*")}
#: Everything that a name on a page may be: a word of the sources, but for this file.
WORDS = set(
    re.findall(
        r"\w+",
        " ".join(p.read_text("utf-8") for p in SOURCES if p != Path(__file__).resolve()),
    )
)
#: Names of other projects, and of examples, that pages mention.
OTHER_NAMES = set(
    """
    ROS_AUTOMATIC_DISCOVERY_RANGE ROS_STATIC_PEERS ROS_DOMAIN_ID ROS_DISCOVERY_SERVER
    ROS_SUPER_CLIENT RMW_IMPLEMENTATION rmw_zenoh_cpp ZENOH_ROUTER_CONFIG_URI rmw_zenoh
    rmw_zenohd simcc_x simcc_y rqt_runtime_monitor MyDetector
    robot_description human_description_ID MAXN_SUPER
    """.split()
)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    made: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", without_code(path.read_text("utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in made:
            number += 1
        made.add(unique)
    return made


def test_there_are_pages() -> None:
    assert len(PAGES) > 20 and len(WORDS) > 5000


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_of_the_docs_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = {(ROOT / "docs" / name).resolve() for name in re.findall(r"\]\(([^)#]+)", index)}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert pages - linked == {ROOT / "docs" / "README.md"}


class TagsLeftOut(yaml.SafeLoader):
    """Reads mkdocs.yml without mkdocs: what Python would make of a tag is left out."""


TagsLeftOut.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), TagsLeftOut)

    def files(entries: list) -> list[str]:
        found = []
        for entry in entries:
            (value,) = entry.values()
            found += files(value) if isinstance(value, list) else [value]
        return found

    assert sorted(files(settings["nav"])) == sorted(page_id(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_exist_in_the_code(page: Path) -> None:
    """Parameters, counters, topics, arguments, constants, classes: each name in code quotes."""
    unknown = set()
    for span in spans(page.read_text("utf-8")):
        # A name of a file is no name in the code. CAMERA and ID stand for a camera's name and a
        # number.
        for name in re.findall(
            r"(?<![\w/.-])[A-Za-z]\w*_\w+\b(?!\.\w)|\b[A-Z][a-z]+[A-Z]\w+", span
        ):
            known = {
                name,
                name.removesuffix("ID").removeprefix("CAMERA_"),
                name.replace("_", "").lower(),
            }
            if not known & (WORDS | OTHER_NAMES):
                unknown.add(name)
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_exist(page: Path) -> None:
    folders = (ROOT, ROOT / "emf_ros", page.parent)
    missing = []
    for span in spans(page.read_text("utf-8")):
        for path in re.findall(r"(?:^|\s)((?:[\w.-]+/)*[\w-]+\.(?:py|msg|rviz|launch\.py))", span):
            if "/" in path or path not in FILE_NAMES:
                missing += [path] * (not any((folder / path).exists() for folder in folders))
        for path in re.findall(
            r"^((?:benchmarks|config|docs|emf_ros|emf_ros_msgs/msg|examples|launch|models|"
            r"requirements|test|tools|training)/[\w./-]*)",
            span,
        ):
            missing += [path] * (not (ROOT / path).exists())
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_modules_and_their_names_can_be_imported(page: Path) -> None:
    text = page.read_text("utf-8")
    for span in spans(text):
        for dotted in re.findall(r"(?<![\w/])emf_ros(?:\.\w+)+", span):
            name, value = dotted.split("."), None
            for depth in range(1, len(name) + 1):
                try:
                    value = importlib.import_module(".".join(name[:depth]))
                except ModuleNotFoundError:
                    value = getattr(value, name[depth - 1])
    for line in code_lines(text):
        if re.match(r"from emf_ros\S* import ", line):
            module, names = re.match(r"from (\S+) import ([\w, ]+)", line).groups()
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), line


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_are_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
        ast.parse(block)


def test_the_table_of_commands_is_complete() -> None:
    page = (ROOT / "docs" / "use" / "recordings.md").read_text("utf-8")
    (table,) = [table for table in tables(page) if table[0][0] == "command"]
    stated = [row[0].strip("`").removeprefix("emf-ros ") for row in table[1:]]
    (commands,) = [action for action in _parser()._actions if action.dest == "command"]
    assert sorted(stated) == sorted(commands.choices)


def test_tables_of_parameters_state_the_defaults_of_the_code() -> None:
    defaults = {
        name: {default_text(node.specs()[name]) for node in NODES if name in node.specs()}
        for name in {name for node in NODES for name in node.specs()}
    }
    stated = 0
    for page in PAGES:
        for table in tables(page.read_text("utf-8")):
            if [cell.lower() for cell in table[0][:2]] != ["parameter", "default"]:
                continue
            for row in table[1:]:
                for name in re.findall(r"`(\w+)`", row[0]):
                    default = row[1].strip("`")
                    same = {text.removesuffix(".0") for text in defaults[name]} | defaults[name]
                    assert default in same, f"{page_id(page)}: {name}"
                    stated += 1
    assert stated


def test_counters_of_the_pages_are_reasons() -> None:
    stated = set()
    for page in PAGES:
        text = page.read_text("utf-8")
        stated |= set(re.findall(r"`(\w+)`(?: or `\w+`)? counts", text))
        stated |= set(re.findall(r"counted (?:as|in)\s+`(\w+)`", text))
        for table in tables(text):
            for column, title in enumerate(table[0]):
                if title in ("counted as", "refused as", "counter", "meaning of the counter"):
                    for row in table[1:]:
                        stated |= set(re.findall(r"`(\w+[a-z0-9])`", row[column]))
    assert len(stated) > 20
    assert stated <= {reason.value for reason in Reason}


def test_tests_of_the_reliability_page_exist() -> None:
    defined = {
        name
        for path in tracked("test/test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    stated = 0
    for table in tables((ROOT / "docs" / "use" / "reliability.md").read_text("utf-8")):
        assert table[0] == ["fault", "promise", "what the node does and says", "test", "result"]
        for row in table[1:]:
            named = re.findall(r"`(test_\w+)`", row[3])
            assert named and set(named) <= defined, row
            stated += 1
    assert stated > 20


def test_topics_of_the_ros_page_are_those_of_the_nodes() -> None:
    nodes = " ".join(p.read_text("utf-8") for p in (ROOT / "emf_ros" / "nodes").glob("**/*.py"))
    page = (ROOT / "docs" / "use" / "ros.md").read_text("utf-8")
    (table,) = [table for table in tables(page) if table[0][0] == "topic"]
    assert len(table) > 10
    for topic, kind, *_ in table[1:]:
        assert f'"{topic.strip("`")}"' in nodes, topic
        assert kind.strip("`").rpartition("/")[2] in nodes, kind


def test_the_page_of_messages_has_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    files = sorted((ROOT / "emf_ros_msgs" / "msg").glob("*.msg"))
    assert files
    for file in files:
        fields, constants = [], []
        for line in file.read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                kind, _, name = line.partition(" ")
                (constants if "=" in name else fields).append((kind, name))
        (table,) = tables(sections[file.stem])
        stated = [
            (row[1].split(",")[0].strip("`").removeprefix("emf_ros_msgs/"), name)
            for row in table[1:]
            for name in re.findall(r"`(\w+)`", row[0])
        ]
        assert stated == fields, file.name
        for _, constant in constants:
            name, value = constant.split("=")
            assert f"| `{name}` | {value} |" in page


def test_the_commands_of_the_readme_are_those_of_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = re.findall(r"^    make (\w+) ", readme, re.MULTILINE)
    assert commands == ["demo", "test"]
    for target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_readme_fits_on_three_screens() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_quick_start_builds_the_workspace_as_the_readme_does() -> None:
    def build(page: str) -> list[str]:
        lines = code_lines((ROOT / page).read_text("utf-8"))
        first = next(n for n, line in enumerate(lines) if line.startswith("git clone"))
        last = next(n for n, line in enumerate(lines) if line.startswith("colcon build"))
        return lines[first : last + 1]

    assert build("README.md") == build("docs/use/quick-start.md")
