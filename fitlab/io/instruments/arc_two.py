"""ArC TWO: an HDF5 file of arc2control with the history of every crosspoint (needs h5py)."""

from __future__ import annotations

from fitlab.errors import ReadError
from fitlab.io.block import Block
from fitlab.io.hdf5 import HISTORY
from fitlab.io.reading import Match, Options
from fitlab.io.text import AbortedError, Document

NAME = "arc_two"


def match(document: Document, options: Options) -> Match:
    """An HDF5 file with crosspoints."""
    if document.parts[0].encoding == HISTORY:
        return Match(1.0, "the histories of crosspoints of arc2control")
    return Match(0.0, "no HDF5 file of arc2control")


def blocks(document: Document, options: Options) -> list[Block]:
    """One block of all crosspoints: signed pulse, width, conductance read after it.

    Raises
    ------
    AbortedError
        No crosspoint has a history.
    """
    source = document.parts[0]
    if source.encoding != HISTORY:
        raise ReadError("this is no HDF5 file of arc2control; choose another --format", file=source.name)
    if len(source.lines) < 2:
        raise AbortedError("no crosspoint was read; leave the file out", file=source.name)
    return [
        Block(
            source,
            mapping={"device": "device", "amplitude": "pulse voltage (V)", "width": "width (s)", "value": "G (S)"},
            layout="long",
            assumptions=("conductances are the sizes of current over read voltage, each read after the pulse of its row",),
        )
    ]
