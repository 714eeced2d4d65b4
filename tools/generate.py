"""Write the files that repeat declarations of parameters and counters: `make generated`.

They are config/lift.yaml, docs/reference/parameters.md and docs/reference/counters.md. Also
written is models/SHA256SUMS, the checksums of the shipped weights. With --check, nothing is
written, and a stale file ends the program with an error.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from emf_ros.doctor.weights import SUMS
from emf_ros.downloads.cache import file_sha256
from emf_ros.nodes.param_specs import NodeParams, ParamSpec, default_text
from emf_ros.nodes.params import NODES, KeypointDetectorParams, SkeletonLifterParams
from emf_ros.reasons import Reason

ROOT = Path(__file__).resolve().parents[1]

#: Folder of the shipped weights.
MODELS = ROOT / "models"

#: Nodes that lift.launch.py starts.
LIFT_NODES = (KeypointDetectorParams, SkeletonLifterParams)

#: Head of the advanced parameters.
_ADVANCED = "Advanced: most users leave these at their defaults. They cannot be launch arguments."

_YAML_HEAD = """\
# The parameters of the lifting nodes, at their defaults. Launch arguments win over this file.
# Generated from emf_ros/nodes/params.py by `make generated`: copy it, do not edit it.
"""

_DOCS_HEAD = """\
# Parameters

Generated from `emf_ros/nodes/params.py` by `make generated`: do not edit this page by hand.

- `ros2 param set NODE NAME VALUE` changes parameters marked as live, between two images. The others
  are read by `configure`: see [the life cycle](life-cycle.md).
- `ros2 param describe NODE NAME` shows the same texts.
- An unknown name or a refused value ends the node. The error says in one line what is allowed.
- `config/lift.yaml` holds the parameters of detector and lifter at their defaults. Change a copy.
- `config/` has a file for each use: see [parameter files](../use/ros.md#parameter-files).
- Set `lag` and `fov_deg` in one parameters file only. ROS merges files. It keeps a number of the
  first file where the second file has a string such as `auto`.
- A launch argument is passed to each node that has the parameter. Without an argument, the value of
  the parameters file is used.
"""

_COUNTERS_HEAD = """\
# Counters

Generated from `emf_ros/reasons.py` by `make generated`: do not edit this page by hand.

Counters are published on `/diagnostics` once a second. A counter appears with its first count.
`emf-ros lift` prints the same counters at its end, and `SkeletonTracker.counts` holds them.

| counter | counted by | meaning | cause | remedy |
|---|---|---|---|---|
"""


def lift_yaml() -> str:
    """The text of config/lift.yaml."""
    return _YAML_HEAD + "".join(_yaml_section(node) for node in LIFT_NODES)


def _yaml_section(node: type[NodeParams]) -> str:
    lines = ["", f"/**/{node.node}:", "  ros__parameters:"]
    specs = sorted(node.specs().values(), key=lambda spec: spec.advanced)
    for spec in specs:
        if spec.advanced and not any("Advanced" in line for line in lines):
            lines += ["", f"    # {_ADVANCED}", ""]
        allowed = f" Allowed: {spec.allowed}." if spec.allowed else ""
        lines += textwrap.wrap(
            spec.text + allowed, 100, initial_indent="    # ", subsequent_indent="    # "
        )
        lines.append(f"    {spec.name}: {default_text(spec)}")
    return "\n".join(lines) + "\n"


def parameters_page() -> str:
    """The text of docs/reference/parameters.md."""
    return _DOCS_HEAD + "".join(_page_section(node) for node in NODES)


def _page_section(node: type[NodeParams]) -> str:
    specs = list(node.specs().values())
    lines = ["", f"## {node.node}", ""]
    lines += _table([spec for spec in specs if not spec.advanced])
    advanced = [spec for spec in specs if spec.advanced]
    if advanced:
        lines += ["", _ADVANCED, ""]
        lines += _table(advanced)
    if node.gone:
        lines += ["", "Parameters of older versions:", ""]
        lines += [f"- `{old}`: {remedy}." for old, remedy in node.gone.items()]
    return "\n".join(lines) + "\n"


def _table(specs: list[ParamSpec]) -> list[str]:
    lines = [
        "| parameter | type | default | allowed | launch argument | live | description |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in specs:
        kind = f"list of {spec.kind.__name__}" if spec.is_list else spec.kind.__name__
        cells = [
            f"`{spec.name}`",
            kind,
            f"`{default_text(spec)}`",
            spec.allowed,
            "yes" if spec.launch else "",
            "yes" if spec.live else "",
            spec.text,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def counters_page() -> str:
    """The text of docs/reference/counters.md."""
    rows = []
    for reason in sorted(Reason):
        explanation = reason.explanation
        nodes = ", ".join(f"`{node}`" for node in explanation.nodes)
        cells = [f"`{reason}`", nodes, explanation.meaning, explanation.cause, explanation.remedy]
        rows.append("| " + " | ".join(cells) + " |\n")
    return _COUNTERS_HEAD + "".join(rows)


def sums() -> str:
    """The text of models/SHA256SUMS, as `sha256sum` writes it."""
    files = sorted(
        path for suffix in ("onnx", "safetensors") for path in MODELS.glob(f"*.{suffix}")
    )
    return "".join(f"{file_sha256(path)}  {path.name}\n" for path in files)


def generated() -> dict[Path, str]:
    """The texts of the generated files, by path."""
    return {
        ROOT / "config" / "lift.yaml": lift_yaml(),
        ROOT / "docs" / "reference" / "parameters.md": parameters_page(),
        ROOT / "docs" / "reference" / "counters.md": counters_page(),
        MODELS / SUMS: sums(),
    }


def stale() -> list[Path]:
    """The generated files that differ from what the declarations say."""
    return [
        path
        for path, text in generated().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    args = parser.parse_args(argv)
    outdated = stale()
    for path in outdated:
        if args.check:
            print(f"{path.relative_to(ROOT)} is stale: run `make generated`", file=sys.stderr)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 1 if args.check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
