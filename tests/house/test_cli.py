"""The command line as a process: what a shell is told."""

import signal
import subprocess
import sys

RUN = "import sys; from specdesc.cli import main; sys.exit(main(['info']))"


def test_a_closed_pipe_ends_like_any_command_of_a_shell() -> None:
    """Without a word, and with the code of the signal: the output was cut short."""
    command = [sys.executable, "-c", RUN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert said == b""
