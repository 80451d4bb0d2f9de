"""A kernel like that of Google Colab: `python colab_kernel.py -f CONNECTION_FILE`.

With Google's package `google.colab`, this is Colab's own kernel class. Without it, the classes here
do what Colab's classes do to requests and to our magics.
"""

from __future__ import annotations

from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.events import EventManager, available_events


class Shell(ZMQInteractiveShell):
    """A shell with Colab's events and Colab's cell magics."""

    def init_events(self) -> None:
        """Register only the hook that Colab keeps."""
        self.events = EventManager(self, available_events)
        self.events.register("pre_execute", self._clear_warning_registry)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """Run a magic; an empty body below a line with arguments is a space."""
        return super().run_cell_magic(magic_name, line, cell or (" " if line else cell))


class Kernel(IPythonKernel):
    """A kernel that completes as Colab's does: synchronously, with an inspection of each match."""

    def _shell_class_default(self) -> type[Shell]:
        return Shell

    def complete_request(  # type: ignore[override]  # newer kernels have a coroutine
        self, stream: Any, ident: Any, parent: dict[str, Any]
    ) -> None:
        """Send the matches with their types."""
        content = parent["content"]
        reply = self.do_complete(content["code"], content["cursor_pos"])
        if parent["metadata"].get("colab_options", {}).get("include_colab_metadata"):
            found = [self.shell.object_inspect(match) for match in reply["matches"]]
            types = [{"type_name": each.get("type_name")} for each in found]
            reply["metadata"] = {"colab_types_experimental": types}
        self.session.send(stream, "complete_reply", reply, parent, ident)


def kernel_class() -> Any:
    """Return Colab's own class if it is installed."""
    try:
        from google.colab import _kernel
    except ImportError:
        return Kernel
    return _kernel.Kernel


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=kernel_class())
