"""The toolkit's driver of a terminal, for pastes that hold escape sequences."""

import os
from codecs import getincrementaldecoder
from select import select

from textual.drivers.linux_driver import LinuxDriver

from qwen_tui.app.paste_parser import PasteParser

POLL_S = 0.1
READ_BYTES = 4096


class TerminalDriver(LinuxDriver):
    """A `LinuxDriver` that reads pastes as they are."""

    def run_input_thread(self) -> None:
        """Hand on what the terminal sends, until the driver is closed."""
        parser = PasteParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        while not self.exit_event.is_set():
            if select([self.fileno], [], [], POLL_S)[0] and (text := decode(os.read(self.fileno, READ_BYTES))):
                for message in parser.feed(text):
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
