"""Records the command `montra` in a terminal: docs/images/terminal.svg, an animation that shows itself once.

The commands really run, each in a pseudo-terminal, against a sandbox whose clock stands still and whose ids are the
same in each run, so that a recording changes only when the command does.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from montra_sandbox import Sandbox

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "terminal.svg"
COMMANDS = (
    "montra trigger checkout.completed --set email=ada@example.com",
    "montra customers list --columns id,name,email,status",
    "montra sandbox advance 32d",
    "montra invoices list --columns invoice_number,amount_due,currency,status,due_date",
    "montra sandbox fault rate_limit --times 2",
    "montra subscriptions list --columns id,status,current_period_end",
    "montra logs list --columns at,method,path,status,error_code",
)
WIDTH = 104
TIMEOUT = 60.0
"""Seconds that a command may take."""
TYPING, PAUSE, LINE = 0.9, 1.6, 0.04
"""Seconds in the animation from a command to its output, to the next command, and from line to line."""
THEME = TerminalTheme(
    background=(20, 27, 52),
    foreground=(214, 222, 240),
    normal=[
        *((32, 40, 70), (255, 123, 133), (126, 214, 160), (240, 200, 120)),
        *((124, 166, 255), (200, 160, 255), (110, 210, 220), (214, 222, 240)),
    ],
    bright=[
        *((110, 122, 160), (255, 150, 158), (150, 230, 180), (250, 215, 150)),
        *((160, 190, 255), (220, 190, 255), (150, 230, 235), (255, 255, 255)),
    ],
)
FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>The command montra in a terminal</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
ANIMATION = """
@keyframes montra-appear { from { opacity: 0 } to { opacity: 1 } }
[data-line] { animation: montra-appear 0.01s both }
@media (prefers-reduced-motion: reduce) { [data-line] { animation: none } }
"""


def run(command: str, environment: dict[str, str]) -> str:
    """What a command writes to its terminal, with its colours.

    Args:
        command: as it is typed; the first word is `montra`.
        environment: the environment.
    """
    terminal, side = pty.openpty()
    ioctl(side, TIOCSWINSZ, pack("HHHH", 50, WIDTH, 0, 0))
    program = [sys.executable, "-m", "montra_cli", *shlex.split(command)[1:]]
    process = subprocess.Popen(program, stdin=side, stdout=side, stderr=side, env=environment, cwd=ROOT)
    os.close(side)
    output = _read(terminal)
    os.close(terminal)
    if process.wait(TIMEOUT) != 0:
        sys.exit(f"{command}: exit {process.returncode}\n{output}")
    return output.replace("\r\n", "\n")


def _read(terminal: int) -> str:
    """Everything until the other side is closed."""
    read = b""
    while select.select([terminal], [], [], TIMEOUT)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        read += piece
    return read.decode()


def record() -> str:
    """The recording as SVG."""
    console = Console(width=WIDTH, record=True, file=StringIO(), color_system="truecolor", force_terminal=True)
    starts: dict[int, float] = {}
    line, when = 0, 0.3
    with (
        tempfile.TemporaryDirectory() as home,
        Sandbox(now=datetime(2026, 3, 1, 12, tzinfo=timezone.utc), frozen=True, id_seed=42) as sandbox,
    ):
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
            "HOME": home,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "MONTRA_API_KEY": sandbox.api_key,
            "MONTRA_BASE_URL": sandbox.base_url,
        }
        for command in COMMANDS:
            output = Text.from_ansi(run(command, environment).strip("\n"))
            shown = Text.assemble(("$ ", "bold bright_blue"), (command, "bold"))
            pieces = ((shown, TYPING), (output, PAUSE), (Text(), 0.0))
            for text, pause in pieces:
                wrapped = text.wrap(console, WIDTH) or [text]
                for _ in wrapped:
                    starts[line] = when
                    line, when = line + 1, when + LINE
                console.print(text)
                when += pause
    svg = console.export_svg(title="montra", theme=THEME, code_format=FRAME, unique_id="montra")
    return _animated(svg, starts)


def _animated(svg: str, starts: dict[int, float]) -> str:
    """Let each line appear at its time."""

    def timed(match: re.Match[str]) -> str:
        delay = starts.get(int(match["line"]), 0.0)
        return f'{match[0]} data-line="" style="animation-delay: {delay:.2f}s"'

    svg = re.sub(r'clip-path="url\(#montra-line-(?P<line>\d+)\)"', timed, svg)
    svg = svg.replace("</style>", f"{ANIMATION.strip()}\n</style>", 1)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def main(target: Path) -> None:
    """Write the recording.

    Args:
        target: the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(record(), encoding="utf-8")
    print(f"{target.name}: {target.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / TARGET.name if len(sys.argv) > 1 else TARGET)
