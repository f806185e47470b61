"""Build a release into dist/, look at it, and try it.

    python tools/build_dist              wheel and sdist, the same when built again; their metadata and their contents;
                                         installed and tried in a fresh environment for each extra; SBOMs; SHA256SUMS
    python tools/build_dist --quick      without the fresh environments and the SBOMs
    python tools/build_dist --update     write manifest.txt for what was built, to be reviewed and committed

Needs no network but a package index. `nox -s build` runs it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from build_dist.artifacts import (
    BuildError,
    build_twice,
    check_metadata,
    contents_of,
    epoch_of,
    metadata_of,
    problems_of_contents,
    write_checksums,
)
from build_dist.environments import EVERYTHING, PYTEST, Environment, try_everywhere
from build_dist.manifest import parse_manifest, write_manifest
from build_dist.sbom import write_sbom

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(__file__).with_name("manifest.txt")


class Progress:
    """Prints a line per step, with the seconds since the last one."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def done(self, text: str) -> None:
        """Say that something is done.

        Args:
            text: what.
        """
        now = time.monotonic()
        print(f"{now - self._since:6.1f} s  {text}", flush=True)
        self._since = now


def archives(progress: Progress, out: Path, scratch: Path, *, update: bool) -> tuple[Path, Path]:
    """Build both archives and look at them.

    Raises:
        BuildError: something is wrong with them.
    """
    wheel, sdist = build_twice(ROOT, out, scratch, epoch_of(ROOT))
    progress.done(f"{wheel.name} and {sdist.name}: the same when built again")
    check_metadata(wheel, sdist)
    progress.done("twine check --strict")
    in_wheel, in_sdist = contents_of(wheel), contents_of(sdist)
    if update:
        MANIFEST.write_text(write_manifest(in_wheel, in_sdist), encoding="utf-8")
        progress.done(f"wrote {MANIFEST.relative_to(ROOT)}")
    manifest = parse_manifest(MANIFEST.read_text(encoding="utf-8"))
    if problems := problems_of_contents(ROOT, wheel, sdist, manifest):
        hint = "Is it meant? nox -s build -- --quick --update"
        raise BuildError("\n".join([*problems, "", hint]))
    progress.done(f"{len(in_wheel)} files in the wheel, {len(in_sdist)} in the sdist: as in the manifest")
    return wheel, sdist


def trials(progress: Progress, wheel: Path, out: Path, scratch: Path) -> None:
    """Try the wheel in fresh environments, and write down what they consist of.

    Raises:
        BuildError: something does not work in one of them.
    """
    metadata = metadata_of(wheel)
    version, failures = metadata["Version"][0], list[str]()
    (out / "sbom").mkdir()
    epoch = epoch_of(ROOT)

    def describe(environment: Environment) -> None:
        if environment.name != PYTEST:
            extra = "all-extras" if environment.name == EVERYTHING else environment.name
            write_sbom(environment.python, wheel, version, extra, ROOT, out / "sbom", epoch)

    tried = try_everywhere(wheel, metadata["Provides-Extra"], scratch, ROOT, version, describe)
    for environment, error in tried:
        name = environment.name or "no extra"
        if error is not None:
            failures.append(f"{name}: {error}")
        progress.done(f"{name}: {'FAILED' if error else 'installed, imported, used'}")
    if failures:
        raise BuildError("\n\n".join(failures))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="build_dist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="try nothing in fresh environments")
    parser.add_argument("--update", action="store_true", help="write the manifest instead of comparing with it")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder; what is in it is deleted")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="montra-build-") as scratch:
        try:
            wheel, _ = archives(progress, out, Path(scratch), update=options.update)
            if not options.quick:
                trials(progress, wheel, out, Path(scratch))
        except BuildError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    write_checksums(out)
    print(f"\nInstall it: pip install '{wheel}[fastapi]'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
