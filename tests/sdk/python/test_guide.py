"""The commands of docs/simulator.md print what it says they print."""

import contextlib
import fnmatch
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

from fake_workspace import BINARY, ROOT

END = "=== end of block ==="


def test_the_commands_of_the_guide_print_what_it_says(tmp_path):
    guide = (ROOT / "docs/simulator.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```\n(?:\n```text\n(.*?)```)?", guide, re.DOTALL)
    assert len(blocks) > 8 and all(expected for _, expected in blocks)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = "set -uo pipefail\n" + "".join(f"{commands}\necho '{END}'\n" for commands, _ in blocks)
    folders = [pathlib.Path(BINARY).parent, pathlib.Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    shell = subprocess.Popen(
        ["bash", "-c", script.replace("8787", port)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = shell.communicate(timeout=120)
    finally:
        # Whatever becomes of it, what it started ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    printed = [block.strip().splitlines() for block in output.replace(port, "8787").split(END)][: len(blocks)]
    for (commands, expected), lines in zip(blocks, printed, strict=True):
        patterns = [pattern.replace("[", "[[]").replace("…", "*") for pattern in expected.strip().splitlines()]
        fits = len(lines) == len(patterns) and all(map(fnmatch.fnmatchcase, lines, patterns))
        assert fits, f"{commands}\nprinted\n" + "\n".join(lines) + f"\n{errors}"
