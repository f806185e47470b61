"""A software bill of materials (CycloneDX) for each fresh environment: what an installation of today consists of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .artifacts import BuildError, hash_of


def write_sbom(python: Path, wheel: Path, version: str, extra: str, root: Path, out: Path, epoch: str) -> Path:
    """Write what an environment holds as JSON.

    Args:
        python: the environment's interpreter.
        wheel: what was installed there.
        version: its version.
        extra: with which extra; empty for none.
        root: the folder with pyproject.toml.
        out: the folder for the file.
        epoch: the time that the file names, in seconds since 1970.

    Raises:
        BuildError: the environment can't be read.
    """
    target = out / f"montra-{version}{f'-{extra}' if extra else ''}.cdx.json"
    options = ["--pyproject", str(root / "pyproject.toml"), "--mc-type", "library"]
    options += ["--output-reproducible", "--no-validate" if extra else "--validate"]  # it takes seconds each time
    command = [sys.executable, "-m", "cyclonedx_py", "environment", str(python), *options, "-o", str(target)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if run.returncode:
        raise BuildError(f"cyclonedx-py: {run.stderr}")
    document = json.loads(target.read_text(encoding="utf-8"))
    target.write_text(json.dumps(completed(document, wheel, version, extra), indent=1) + "\n", encoding="utf-8")
    return target


def completed(document: dict[str, Any], wheel: Path, version: str, extra: str) -> dict[str, Any]:
    """The document with what the generator can't know: version, hash and extra of the package itself.

    Raises:
        BuildError: it names a place on this machine.
    """
    component = document["metadata"]["component"]
    component |= {
        "version": version,
        "purl": f"pkg:pypi/montra@{version}",
        "hashes": [{"alg": "SHA-256", "content": hash_of(wheel)}],
    }
    if extra:
        component.setdefault("properties", []).append({"name": "cdx:python:package:required-extra", "value": extra})
    document["components"] = [one for one in document.get("components", []) if one["name"] != "montra"]
    if "file://" in json.dumps(document):
        raise BuildError("the SBOM names a path of this machine")
    return document
