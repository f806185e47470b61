"""What `nox -s build` finds wrong with archives. The builds themselves run there, not here."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from build_dist.artifacts import (
    BuildError,
    contents_of,
    metadata_of,
    problems_of_contents,
    problems_of_links,
    write_checksums,
)
from build_dist.environments import SCRIPT, environment_variables
from build_dist.manifest import (
    Manifest,
    parse_manifest,
    problems_of_content,
    problems_of_sdist,
    problems_of_tracking,
    problems_of_wheel,
    sdist_line,
    write_manifest,
)
from build_dist.sbom import completed
from build_dist.trial import HINTED, NEEDS, USES
from hypothesis import given, strategies as st

from . import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MANIFEST = ROOT / "tools/build_dist/manifest.txt"
WHEEL = ["shop/__init__.py", "shop/py.typed", "shop/templates/a.html", "shop-1.dist-info/METADATA"]
SDIST = [*WHEEL[:3], "README.md", "PKG-INFO", "tests/test_a.py", "docs/a/b.md"]


@pytest.fixture
def manifest() -> Manifest:
    return parse_manifest(write_manifest(WHEEL, SDIST))


def test_what_was_written_down_is_in_order(manifest: Manifest) -> None:
    assert problems_of_wheel(WHEEL, manifest) == []
    assert problems_of_sdist(SDIST, manifest) == []
    assert problems_of_wheel([*WHEEL, "shop/new.py"], manifest) == []  # a module in a folder that has some
    assert manifest.sdist == ("PKG-INFO", "README.md", "docs/**", "tests/**")


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
files = st.builds(lambda name, end: name + end, names, st.sampled_from([".py", ".html", "", ".yaml"]))


@given(wheel=st.sets(files, min_size=1), sdist=st.sets(files))
def test_whatever_is_written_down_is_in_order_and_any_other_data_file_is_not(wheel: set[str], sdist: set[str]) -> None:
    in_wheel = {f"shop/{name}" for name in wheel}
    in_sdist = [*in_wheel, *(f"tests/{name}" for name in sdist)]
    found = parse_manifest(write_manifest(in_wheel, in_sdist))
    assert problems_of_wheel(list(in_wheel), found) == problems_of_sdist(in_sdist, found) == []
    assert problems_of_wheel([*in_wheel, "shop/zzz.js"], found) == [
        "shop/zzz.js: is in the wheel, but not in the manifest"
    ]
    for name in in_wheel:
        if not name.endswith(".py"):
            lost = problems_of_wheel([one for one in in_wheel if one != name], found)
            assert f"{name}: is in the manifest, but nothing in the wheel" in lost


@pytest.mark.parametrize("lost", WHEEL)
def test_what_was_forgotten_is_named(manifest: Manifest, lost: str) -> None:
    (problem,) = problems_of_wheel([one for one in WHEEL if one != lost], manifest)
    assert problem.endswith("is in the manifest, but nothing in the wheel")


@pytest.mark.parametrize(
    "name",
    [
        *("shop/test_a.py", "shop/conftest.py", "shop/.env", "shop/.env.local", "shop/key.pem", "shop/events.db"),
        *("shop/prod.env", "shop/.envrc", "shop/credentials.json", "shop/.npmrc", "shop/.aws/config", "shop/.htpasswd"),
        *("shop/release.jks", "shop/ID_RSA", "shop/Id_Rsa.pub", "shop/Key.PEM", "shop/.DS_Store", "shop/.SSH/config"),
        *("shop/templates/a.html.orig", "shop/__pycache__/a.py", "shop/node_modules/x.py", "shop/notes.md"),
    ],
)
def test_what_got_in_by_accident_is_named(manifest: Manifest, name: str) -> None:
    assert f"{name}: has no business in the wheel" in problems_of_wheel([*WHEEL, name], manifest)


def test_a_new_folder_of_modules_must_be_written_down(manifest: Manifest) -> None:
    assert problems_of_wheel([*WHEEL, "shop/admin/a.py"], manifest) == [
        "shop/admin/a.py: is in the wheel, but not in the manifest"
    ]
    assert "secrets.txt: is in the sdist, but not in the manifest" in problems_of_sdist(
        [*SDIST, "secrets.txt"], manifest
    )
    assert "tests/.env: has no business in the sdist" in problems_of_sdist([*SDIST, "tests/.env"], manifest)


def test_git_knows_what_is_distributed_and_all_of_a_package_is() -> None:
    tracked = [name for name in SDIST if name != "PKG-INFO"]
    assert problems_of_tracking(WHEEL, SDIST, tracked) == []
    assert problems_of_tracking([*WHEEL, "shop/x.py"], SDIST, tracked) == [
        "shop/x.py: is in the wheel, but Git does not know it"
    ]
    assert problems_of_tracking(WHEEL, [*SDIST, "docs/x.md"], tracked) == [
        "docs/x.md: is in the sdist, but Git does not know it"
    ]
    assert problems_of_tracking(WHEEL, SDIST, [*tracked, "shop/y.py", "noxfile.py"]) == [
        "shop/y.py: belongs to a package, but is not in the wheel"
    ]


def test_a_private_key_is_found() -> None:
    content = b"KEY = '''-----BEGIN " + b"RSA PRIVATE KEY-----\nMII'''"
    assert problems_of_content("shop/a.py", content) == ["shop/a.py: holds what looks like a secret (-----BEGIN R...)"]
    assert problems_of_content("shop/a.py", b"print()") == []


KEYS = {
    "PEM": "-----BEGIN " + "PRIVATE KEY-----",
    "OpenSSH": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "Montra": "sk_live" + "_" + "9fQ2xLw7TzB4mKc8VdR1yHn5",
    "AWS": "AKIA" + "Q3EGRIHW7TZB4MKC",
    "GitHub": "ghp" + "_" + "9fQ2xLw7TzB4mKc8VdR1yHn5Ju3Po6As0DeF",
    "GitHub, limited": "github_pat" + "_" + "11ABCDEFG0" * 6,
    "PyPI": "pypi-AgE" + "IcHlwaS5vcmcCJDk5ZTVmYWFh",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
def test_a_key_is_found_in_each_archive(tmp_path: Path, manifest: Manifest, key: str) -> None:
    text = f'KEY = "{key}"\n'.encode()
    for where in ("wheel", "sdist"):
        wheel, sdist = tmp_path / "shop-1-py3-none-any.whl", tmp_path / "shop-1.tar.gz"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in WHEEL:
                archive.writestr(name, text if (where, name) == ("wheel", "shop/__init__.py") else b"Name: shop\n")
        with tarfile.open(sdist, "w:gz") as packed:
            for name in SDIST:
                content = text if (where, name) == ("sdist", "tests/test_a.py") else b"Name: shop\n"
                member = tarfile.TarInfo(f"shop-1/{name}")
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
        (problem,) = problems_of_contents(tmp_path, wheel, sdist, manifest)
        name = "shop/__init__.py" if where == "wheel" else "tests/test_a.py"
        assert problem.startswith(f"{name}: holds what looks like a secret ({key[:12]}...)")


def test_the_invented_keys_of_the_project_are_no_secrets() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: an unpacked source distribution")
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    files = [ROOT / name for name in run.stdout.split("\0") if name]
    found = [
        problem for file in files if file.is_file() for problem in problems_of_content(str(file), file.read_bytes())
    ]
    assert found == []
    assert len(files) > 500


def test_a_line_outside_of_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match="stands in no section"):
        parse_manifest("shop/*.py\n")


def test_the_manifest_fits_what_git_knows() -> None:
    """What the build would find, without a build: a new folder or data file that nobody wrote down."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: an unpacked source distribution")
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    packages = targets["wheel"]["packages"]
    tracked = [name for name in run.stdout.split("\n") if name.partition("/")[0] in packages]
    manifest = parse_manifest(MANIFEST.read_text(encoding="utf-8"))
    made = [line.replace("*", "montra-1", 1) for line in manifest.wheel if line.startswith("*.dist-info/")]
    assert problems_of_wheel([*tracked, *made], manifest) == [], "nox -s build -- --quick --update"
    included = set(targets["sdist"]["only-include"])
    assert set(packages) <= included
    outside = {
        sdist_line(name) for name in run.stdout.split("\n") if name.partition("/")[0] in included - set(packages)
    }
    assert set(manifest.sdist) == {*outside, ".gitignore", "LICENSE", "PKG-INFO", "pyproject.toml"}
    assert {f"{package}/py.typed" for package in packages} <= set(manifest.wheel)


def test_each_extra_is_tried() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert extras <= {*USES, "cli"}
    assert set(HINTED) <= set(NEEDS)


def test_the_script_of_the_readme_is_found() -> None:
    found = SCRIPT.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert "check_entitlement" in found[1]


def test_processes_of_a_trial_inherit_nothing_that_leads_to_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "MONTRA_API_KEY", "PYTEST_ADDOPTS", "COVERAGE_PROCESS_START"):
        monkeypatch.setenv(name, "x")
    assert {name for name, value in environment_variables().items() if value == "x"} == set()


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def test_archives_are_read(tmp_path: Path) -> None:
    wheel = tmp_path / "shop-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shop/__init__.py", "")
        archive.writestr("shop-1.dist-info/METADATA", "Name: shop\nTag: a\nTag: b\n\nSee [this](docs/a.md).\n")
    assert metadata_of(wheel)["Tag"] == ["a", "b"]
    assert problems_of_links(metadata_of(wheel)) == ["](docs/a.md)"]
    file = tarfile.TarInfo("shop-1/shop/__init__.py")
    file.size = 1
    assert contents_of(_tar(tmp_path / "a.tar.gz", file)) == {"shop/__init__.py": b"x"}
    link = tarfile.TarInfo("shop-1/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BuildError, match="a link or a device"):
        contents_of(_tar(tmp_path / "b.tar.gz", link))


def test_checksums_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "sbom").mkdir()
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "sbom/b.json").write_bytes(b"b")
    lines = write_checksums(tmp_path).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(text).hexdigest()}  {name}" for text, name in ((b"a", "a.whl"), (b"b", "sbom/b.json"))
    ]
    assert write_checksums(tmp_path).read_text().splitlines() == lines


def test_an_sbom_names_the_wheel_and_no_place_on_this_machine(tmp_path: Path) -> None:
    wheel = tmp_path / "montra-1.0.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    document = {
        "metadata": {"component": {"name": "montra"}},
        "components": [{"name": "attrs"}, {"name": "montra", "url": "file:///somewhere"}],
    }
    found = completed(json.loads(json.dumps(document)), wheel, "1.0.0", "redis")
    assert [one["name"] for one in found["components"]] == ["attrs"]
    component = found["metadata"]["component"]
    assert component["purl"] == "pkg:pypi/montra@1.0.0"
    assert component["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"wheel").hexdigest()}]
    document["components"][0]["url"] = "file:///somewhere"
    with pytest.raises(BuildError, match="a path of this machine"):
        completed(document, wheel, "1.0.0", "")
