"""The workflows run what there is: sessions of noxfile.py, the Pythons of pyproject.toml, actions pinned by commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import ROOT
from .test_build_dist import PROJECT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="an unpacked source distribution has no workflows")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def workflow(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8")))


def sessions_of_noxfile() -> set[str]:
    """The names under which sessions can be run, read from the source."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    found = re.findall(r"^@nox\.session(?:\((.*)\))?\ndef (\w+)", text, re.MULTILINE)
    names = {(re.search(r'name="([^"]+)"', options) or [None, function])[1] for options, function in found}
    return names | {f"tests-all-{python}" for python in pythons_of_noxfile()} if "tests-all" in names else names


def pythons_of_noxfile() -> list[str]:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    (line,) = re.findall(r"^PYTHONS = \((.*)\)$", text, re.MULTILINE)
    return re.findall(r'"([^"]+)"', line)


def steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow(path.name)["jobs"].items():
        for step in job.get("steps", ()):
            yield name, step


def sessions_of(path: Path) -> set[str]:
    """The sessions that a workflow runs."""
    found: set[str] = set()
    for _, step in steps(path):
        for words in re.findall(r"nox .*?-s ([^\n#]*)", step.get("run", "")):
            found |= {word for word in words.partition(" -- ")[0].split() if not word.startswith(("$", '"$'))}
    for job in workflow(path.name)["jobs"].values():
        for entry in job.get("strategy", {}).get("matrix", {}).get("session", ()):
            found.add(entry.partition(" ")[0])
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_session_that_a_workflow_runs_exists(path: Path) -> None:
    assert sessions_of(path) <= sessions_of_noxfile()


def test_the_sessions_are_found() -> None:
    assert {"lint", "types", "generate", "build", "api-check", "tests-lowest"} <= sessions_of(
        ROOT / ".github/workflows/tests.yml"
    )
    assert {"tests", "tests-all", "tests-all-3.10", "tests-lowest", "build", "release"} <= sessions_of_noxfile()


def test_the_tests_that_sessions_choose_or_leave_out_exist() -> None:
    patterns = re.findall(r'"(tests/[^"]*)"', (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    assert len(patterns) > 30
    assert [one for one in patterns if not list(ROOT.glob(one))] == []


def test_every_supported_python_is_tested() -> None:
    matrix = workflow("tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    classifiers = [one.rpartition(" :: ")[2] for one in PROJECT["project"]["classifiers"]]
    supported = [one for one in classifiers if re.fullmatch(r"3\.\d+", one)]
    assert matrix == supported == pythons_of_noxfile()
    assert PROJECT["project"]["requires-python"] == f">={matrix[0]}"
    policies = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
    assert f"Python {matrix[0]} to {matrix[-1]}" in policies


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_permissions_are_given_one_by_one(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert all(one.startswith("./") or PINNED.fullmatch(one) for one in used), used
    assert workflow(path.name)["permissions"] == {}
    for name, job in workflow(path.name)["jobs"].items():
        assert "permissions" in job, name
        assert "uses" in job or job["timeout-minutes"] <= 60, name
    for _, step in steps(path):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_only_the_jobs_that_publish_have_an_identity_and_they_run_nothing_of_ours() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish", "docs"]
    publish = jobs["publish"]
    assert (publish["environment"]["name"], sorted(publish["needs"])) == ("pypi", ["build", "tests"])
    site = workflow("docs.yml")["jobs"]
    assert [name for name, job in site.items() if "id-token" in job["permissions"]] == ["publish"]
    assert not any("checkout" in step.get("uses", "") for job in (publish, site["publish"]) for step in job["steps"])


def test_the_documentation_is_published_only_behind_the_package() -> None:
    """That one was tested, its tag is on main, and somebody has approved it: a tag alone publishes nothing."""
    for path in WORKFLOWS:
        triggers = workflow(path.name)[True]  # YAML reads the key `on` so
        assert ("tags" in (triggers.get("push") or {})) == (path.name == "release.yml")
    docs = workflow("release.yml")["jobs"]["docs"]
    assert (docs["uses"], docs["needs"]) == ("./.github/workflows/docs.yml", "publish")
    publish = workflow("docs.yml")["jobs"]["publish"]
    assert (publish["if"], publish["needs"]) == ("startsWith(github.ref, 'refs/tags/v')", "build")


def test_the_notes_are_those_of_the_changelog_not_of_a_tag_that_the_job_does_not_have() -> None:
    """`--notes-from-tag` reads a local tag; the checkout of a tag has one without the text of the annotated one."""
    jobs = workflow("release.yml")["jobs"]
    written = [step["run"] for step in jobs["build"]["steps"] if "NOTES.md" in step.get("run", "")]
    assert written == ['python tools/make_release "${TAG#v}" --notes > dist/NOTES.md']
    commands = [step.get("run", "") for step in jobs["notes"]["steps"]]
    assert any("gh release create" in one and "--notes-file dist/NOTES.md" in one for one in commands)
    assert not any("--notes-from-tag" in one for one in commands)


def test_each_action_has_one_version() -> None:
    used = [one for path in WORKFLOWS for one in re.findall(r"uses: (.*@.*)", path.read_text(encoding="utf-8"))]
    assert len({one.partition("@")[0] for one in used}) == len(set(used))
