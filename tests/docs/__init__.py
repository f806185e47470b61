"""The documentation: its snippets run, its commands exist, and the site is made of it as it should be."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
if str(ROOT / "tools") not in sys.path:
    sys.path.append(str(ROOT / "tools"))
