"""Publish outputs under a cell, even after the cell has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from xai_notebook.pictures.render.grid import mimebundle

if TYPE_CHECKING:
    from xai_notebook.pictures.results import ImageBatch

NOTE: Final = (
    "The xAI image panel works while its kernel runs: run this cell again to open it. "
    "Its pictures are shown below."
)
_STYLE: Final = """<style>
.jp-OutputArea-child:has(+ .jp-OutputArea-child .xai-panel-note) \
.jupyter-widgets:not(:has(*)) { display: none; }
.jp-OutputArea-child:has(.xai-alive) + .jp-OutputArea-child:has(.xai-panel-note) { display: none; }
</style>"""
"""Hides the output of a widget without a kernel, and the note while the panel has a kernel. In
untrusted notebooks, which load no widgets, the style has no effect and only the note is shown."""


class Publisher:
    """Displays outputs under one cell, from any thread."""

    def __init__(self, shell: Any) -> None:
        """Bind to the cell that the kernel's IPython is running; without it, publish nothing."""
        self._shell = shell
        self._parent = shell.get_parent() if hasattr(shell, "get_parent") else None

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        display_id: str | None = None,
        update: bool = False,
    ) -> None:
        """Add a MIME bundle to the cell; `update` replaces the output with this `display_id`."""
        if self._shell is None:  # marimo and Solara show the widget only
            return
        metadata = metadata or {}
        transient = {} if display_id is None else {"display_id": display_id}
        shell: Any = self._shell
        kernel: Any = getattr(shell, "kernel", None)
        if hasattr(shell, "set_thread_parent"):  # ipykernel 7.4
            shell.set_thread_parent(self._parent)
        elif hasattr(kernel, "iopub_socket"):
            # Older display publishers send to the running cell, not to the cell of this publisher.
            content = {"data": data, "metadata": metadata, "transient": transient}
            kernel.session.send(
                kernel.iopub_socket,
                "update_display_data" if update else "display_data",
                content,
                parent=self._parent,
                ident=shell.display_pub.topic,
            )
            return
        shell.display_pub.publish(data, metadata, transient=transient, update=update)

    def publish_batch(self, batch: ImageBatch) -> None:
        """Add images with their captions. The panel hides this output while it has a kernel."""
        if self._shell is None:
            return
        bundle = mimebundle(batch)
        bundle["text/html"] = f'<div class="xai-panel-result">{bundle["text/html"]}</div>'
        self.publish(bundle)

    def publish_note(self) -> None:
        """Add the note that is shown in place of a panel without a kernel."""
        html = f'{_STYLE}<div class="xai-panel-note" style="opacity:0.8;padding:4px 0">{NOTE}</div>'
        self.publish({"text/html": html, "text/plain": NOTE})
