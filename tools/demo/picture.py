#!/usr/bin/env python3
"""Runs the demo on a local control plane in a terminal of its own, and draws what it showed: docs/demo.svg."""

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 134


def record(command):
    """What the command shows in a terminal, with its colours. Ends where it fails."""
    shown = bytearray()

    def read(terminal):
        data = os.read(terminal, 4096)
        shown.extend(data)
        return data

    os.chdir(ROOT)
    os.environ.update(DEMO="once", TERM="xterm-256color")
    code = os.waitstatus_to_exitcode(pty.spawn(command, read))
    if code != 0:
        sys.exit(f"the demo ended with {code}")
    return shown.decode().replace("\r\n", "\n")


def draw(shown):
    """The picture of a terminal that shows this."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(f"$ make demo\n{shown}"), soft_wrap=True)
        # An id that is not made of the text, which has times in it.
        picture = console.export_svg(title="make demo", unique_id="demo")
    # Fonts are not fetched from anywhere, and no renderer takes the spaces away with which a line begins.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    return picture.replace("<svg ", '<svg xml:space="preserve" ', 1)


(ROOT / "docs/demo.svg").write_text(draw(record(["target/debug/demo"])))
