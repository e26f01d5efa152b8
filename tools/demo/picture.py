#!/usr/bin/env python3
"""Draws what a terminal showed: that of the demo, which is run on a local control plane for it, in docs/demo.svg, or, with the name of a
file, what was recorded there of the plugin of kubectl, in docs/kubectl.svg."""

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


def draw(shown, title, id):
    """The picture of a terminal that shows this."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(shown), soft_wrap=True)
        # An id that is not made of the text, which has times in it.
        picture = console.export_svg(title=title, unique_id=id)
    # Fonts are not fetched from anywhere, and no renderer takes the spaces away with which a line begins.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    return picture.replace("<svg ", '<svg xml:space="preserve" ', 1)


if len(sys.argv) > 1:
    # Read as bytes: a lone carriage return is no end of a line. What was erased is not shown either.
    shown = Path(sys.argv[1]).read_bytes().decode().replace("\r\n", "\n")
    shown = re.sub(r"[^\n]*\r\x1b\[2K", "", shown)
    (ROOT / "docs/kubectl.svg").write_text(draw(shown, "kubectl edgecred", "plugin"))
else:
    shown = record(["target/debug/demo"])
    (ROOT / "docs/demo.svg").write_text(draw(f"$ make demo\n{shown}", "make demo", "demo"))
