"""No code that runs what a file or a message holds, read from the syntax of the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("emf_ros", "launch", "tools", "examples", "benchmarks")

#: Modules that run code of the data that they read. The error class of pickle may be imported.
PICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "jsonpickle"}
#: Functions that run text as code or in a shell.
RUNNERS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"}
#: Loaders of PyYAML that make plain values only.
PLAIN_LOADERS = {"BaseLoader", "SafeLoader", "CSafeLoader", "PlainLoader", "PlainTextLoader"}
#: Addresses that accept connections from other machines.
OPEN_ADDRESSES = {"0.0.0.0", "::"}


def dotted(node: ast.expr) -> str:
    """A name such as torch.load; empty for another expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def is_literal(call: ast.Call, keyword: str, value: object) -> bool:
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in call.keywords
    )


def faults_of(source: str) -> list[str]:
    """The unsafe calls and imports in a module, each with its line."""
    found = []
    tree = ast.parse(source)
    compared = {
        constant
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for constant in ast.walk(node)
    }
    for node in ast.walk(tree):
        what = ""
        if isinstance(node, ast.Attribute) and dotted(node.value) in PICKLERS:
            what = "" if node.attr == "UnpicklingError" else f"{dotted(node)} unpickles"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLERS:
            what = f"from {node.module} import unpickles"
        elif (
            isinstance(node, ast.Constant) and node.value in OPEN_ADDRESSES and node not in compared
        ):
            what = f"{node.value} accepts connections from other machines"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in RUNNERS:
                what = f"{name} runs what it is given"
            elif any(k.arg == "allow_pickle" for k in node.keywords) and not is_literal(
                node, "allow_pickle", False
            ):
                what = f"{name} with pickles"
            elif name == "torch.load" and not is_literal(node, "weights_only", True):
                what = "torch.load without weights_only=True"
            elif name in ("torch.hub.load", "torch.package.PackageImporter"):
                what = f"{name} runs what it loads"
            elif name in ("yaml.load", "yaml.load_all"):
                loaders = [dotted(arg).rpartition(".")[2] for arg in node.args[1:]]
                loaders += [dotted(k.value).rpartition(".")[2] for k in node.keywords]
                if not set(loaders) & PLAIN_LOADERS:
                    what = f"{name} without a plain loader"
            elif any(k.arg == "shell" for k in node.keywords):
                what = f"{name} with a shell"
        if what:
            found.append(f"line {getattr(node, 'lineno', 0)}: {what}")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_unpickles_runs_text_or_listens_to_other_machines(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    faults = {str(path.relative_to(ROOT)): faults_of(path.read_text("utf-8")) for path in paths}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.load(f)",
        "from dill import load",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "yaml.load(f, yaml.Loader)",
        "yaml.unsafe_load(f)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "server.bind(('0.0.0.0', 80))",
    ],
)
def test_unsafe_code_is_recognised(code: str) -> None:
    assert faults_of(code)


def test_safe_code_is_not() -> None:
    assert not faults_of(
        "np.load(f)\nnp.load(f, allow_pickle=False)\ntorch.load(f, weights_only=True)\n"
        "yaml.safe_load(f)\nyaml.load_all(f, yaml.BaseLoader)\nmodel.eval()\nre.compile(text)\n"
    )
