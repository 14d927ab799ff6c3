"""Lines in and text out, on a terminal or in a pipe, for whatever talks to a person.

    terminal = TerminalText(sys.stdin, sys.stdout)
    for line in terminal.lines(leaving="/quit"):
        terminal.write(answer(line) + "\\n")

What models and tools say is shown without control characters, so that it can't steer the terminal.
"""

from collections.abc import Iterator
from typing import TextIO

_CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}
_CONTROL[ord("\r")] = ""  # of a line's end; alone it would write over the line


class TerminalText:
    """A pair of text streams and a person at their other end.

    Attributes:
        is_terminal: whether both streams are terminals, so that a prompt and hints are shown.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        """Take what is read and what is written."""
        self.is_terminal = stdin.isatty() and stdout.isatty()
        self.line_is_open = False
        self._stdin, self._stdout = stdin, stdout

    def lines(self, *, leaving: str) -> Iterator[str]:
        """Yield what is typed, stripped, without empty lines, until the input ends.

        Ctrl-C at the prompt says how to leave: Ctrl-D, or the command `leaving`.
        """
        while True:
            try:
                line = self._read()
            except KeyboardInterrupt:
                self.write("\n")
                self.remark(f"Ctrl-D or {leaving} leaves")
                continue
            except EOFError:
                if self.is_terminal:
                    self.write("\n")
                return
            if line:
                yield line

    def write(self, text: str) -> None:
        """Show text at once; control characters but line ends and tabs as U+FFFD."""
        if not text:
            return
        self.line_is_open = not text.endswith("\n")
        self._stdout.write(text.translate(_CONTROL))
        self._stdout.flush()

    def remark(self, text: str) -> None:
        """Write what the program itself has to say, in brackets on a line of its own."""
        self.write(("\n" if self.line_is_open else "") + f"({text})\n")

    def _read(self) -> str:
        """Return the next line; on the program's own terminal with line editing."""
        if self.is_terminal and self._stdin.fileno() == 0 and self._stdout.fileno() == 1:
            import readline  # noqa: F401  (gives input() history and editing)

            return input("> ").strip()
        if self.is_terminal:
            self.write("> ")
        line = self._stdin.readline()
        if not line:
            raise EOFError
        self.line_is_open = False
        return line.strip()
