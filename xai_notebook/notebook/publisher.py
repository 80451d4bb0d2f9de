"""Results as real outputs under the panel's cell: they outlive the kernel, widgets do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from xai_notebook.pictures.render.grid import mimebundle

if TYPE_CHECKING:
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["NOTE", "Publisher", "note_bundle"]

NOTE: Final = (
    "The xAI image panel works while its kernel runs: run this cell again to open it. "
    "Pictures it made stand below."
)
_STYLE: Final = """<style>
.jp-OutputArea-child:has(+ .jp-OutputArea-child .xai-panel-note) \
.jupyter-widgets:not(:has(*)) { display: none; }
.jp-OutputArea-child:has(.xai-alive) + .jp-OutputArea-child:has(.xai-panel-note) { display: none; }
</style>"""
"""Hides the error a dead widget shows, or the note while the panel lives. Trusted notebooks only:
elsewhere the widget is not tried and the note is all there is."""


def note_bundle() -> dict[str, str]:
    """Return the sentence that stands where a dead widget would show an error."""
    html = f'{_STYLE}<div class="xai-panel-note" style="opacity:0.8;padding:4px 0">{NOTE}</div>'
    return {"text/html": html, "text/plain": NOTE}


class Publisher:
    """Displays under the cell that made it, from any thread, long after the cell has ended."""

    def __init__(self, shell: Any) -> None:
        """Remember the running cell.

        Args:
            shell: The running IPython, in a kernel.
        """
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
        """Add an output to the cell.

        Args:
            data: A MIME bundle.
            metadata: Of the bundle.
            display_id: What the output can be updated by.
            update: Put it in the place of the output of that id.
        """
        metadata = metadata or {}
        transient = {} if display_id is None else {"display_id": display_id}
        shell: Any = self._shell
        kernel: Any = getattr(shell, "kernel", None)
        if hasattr(shell, "set_thread_parent"):  # ipykernel 7.4
            shell.set_thread_parent(self._parent)
            shell.display_pub.publish(data, metadata, transient=transient, update=update)
        elif hasattr(kernel, "iopub_socket"):
            # The publisher's own parent is that of whichever cell runs now.
            content = {"data": data, "metadata": metadata, "transient": transient}
            kernel.session.send(
                kernel.iopub_socket,
                "update_display_data" if update else "display_data",
                content,
                parent=self._parent,
                ident=shell.display_pub.topic,
            )
        else:
            shell.display_pub.publish(data, metadata, transient=transient, update=update)

    def publish_batch(self, batch: ImageBatch) -> None:
        """Add pictures with their captions to the cell. The panel hides them while it lives."""
        bundle = mimebundle(batch)
        bundle["text/html"] = f'<div class="xai-panel-result">{bundle["text/html"]}</div>'
        self.publish(bundle)
