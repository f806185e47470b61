"""Builds the documentation site: `python tools/build_docs`, or with `--serve` shows it while it is written.

The pages of `docs/` are completed first, as Markdown in a folder of their own (synchronous tabs, the reference, the
pages of commands and examples), then built strictly: a broken link, a reference to nothing, or a page that is not in
the navigation is an error. What was built goes to `site/<version>`, beside other versions.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "tools"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from build_docs.llms import llms_full_txt, llms_txt  # noqa: E402
from build_docs.page_checks import problems_of  # noqa: E402
from build_docs.staging import SiteError, Staging  # noqa: E402
from build_docs.sync_form import NoSyncFormError  # noqa: E402
from build_docs.versions import LATEST, publish  # noqa: E402

from montra_async import __version__  # noqa: E402

HERE = Path(__file__).parent
POLL = 0.5
"""Seconds between two looks at the sources while the site is shown."""


def build(site: Path, version: str, url: str = "") -> Path:
    """Build the site into `site/<version>`.

    Args:
        site: the folder of all versions.
        version: of the documentation.
        url: where the site will be. Default: unknown; then it has no sitemap, and its pages name no canonical address.

    Returns:
        The folder of the version.

    Raises:
        SiteError: something is wrong with the pages.
        NoSyncFormError: a snippet has no synchronous form, and does not say so.
    """
    with tempfile.TemporaryDirectory(prefix="montra-docs-") as folder:
        staging = Staging(Path(folder), version, f"{url.rstrip('/')}/{LATEST}/" if url else "")
        staging.write()
        run = subprocess.run([*_zensical(), "build", "--strict", "-f", str(staging.config)], cwd=folder, check=False)
        if run.returncode:
            raise SiteError("the site has errors, see above")
        built = Path(folder) / "site"
        pages = staging.pages()
        nav = staging.settings(pages)["nav"]
        (built / "llms.txt").write_text(llms_txt(nav, pages), encoding="utf-8")
        (built / "llms-full.txt").write_text(llms_full_txt(nav, pages), encoding="utf-8")
        shutil.copy(HERE / "not_found.html", built / "404.html")
        if not url:
            (built / "sitemap.xml").unlink()
        if found := problems_of(built.resolve()):
            raise SiteError("\n".join(found))
        return publish(built, site, version)


def serve(address: str) -> None:
    """Show the site, and build it again whenever a page or code changes, until Ctrl-C.

    Args:
        address: where, e.g. `127.0.0.1:8000`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the other process, too
    with tempfile.TemporaryDirectory(prefix="montra-docs-") as folder:
        Staging(Path(folder), __version__).write()
        command = [*_zensical(), "serve", "-f", str(Path(folder) / "mkdocs.yml"), "-a", address]
        process = subprocess.Popen(command, cwd=folder)
        try:
            known = _changes()
            while process.poll() is None:
                time.sleep(POLL)
                if (now := _changes()) != known:
                    known = now
                    _write_again(Path(folder))
        except KeyboardInterrupt:
            pass
        finally:
            process.terminate()
            process.wait(10)


def _write_again(folder: Path) -> None:
    """In a process of its own, which imports the code as it is now."""
    subprocess.run([sys.executable, str(HERE), "--stage", str(folder)], check=False)


def watched() -> list[Path]:
    """The files from which the site is made: pages, code, its settings."""
    pages = [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*"), *HERE.rglob("*.yml"), *HERE.rglob("*.css")]
    found = [*pages, *ROOT.glob("montra*/**/*.py"), *ROOT.glob("examples/*")]
    return [one for one in found if one.is_file()]


def _changes() -> dict[Path, int]:
    """When each source was changed last."""
    return {one: one.stat().st_mtime_ns for one in watched()}


def _zensical() -> list[str]:
    return [sys.executable, "-m", "zensical"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line. Default: those of the process.
    """
    parser = argparse.ArgumentParser(prog="build_docs", description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="show the site on loopback, and follow changes")
    parser.add_argument("--address", default="127.0.0.1:8000", help="for --serve (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="the folder of all versions (default: site)")
    parser.add_argument("--version", default=__version__, help="of the documentation (default: %(default)s)")
    parser.add_argument("--url", default="", help="where the site will be: for its sitemap and canonical addresses")
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        if given.stage:
            Staging(given.stage, given.version).write()
        elif given.serve:
            serve(given.address)
        else:
            print(f"{build(given.output, given.version, given.url)}/index.html")
    except (SiteError, NoSyncFormError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
