"""What makes releases: `tools/make_release`, `tools/build_dist`, `tools/check_api.py`, the workflows, the policies."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT / "tools") not in sys.path:
    sys.path.append(str(ROOT / "tools"))
