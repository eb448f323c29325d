"""The annotate stage: turn pictures and their COCO annotations, of any labelling tool, into a batch of frames.

    sim2edge annotate labels/ --partition office-1 floor=wood                 deliver a folder, then make the frames
    sim2edge annotate labels/ --partition office-1 classes='{Sofa: "", Man: person}' floor=tile
    sim2edge annotate --partition office-1                                    the files of a producer in inbox/office-1/

Frames are checked as those of `clean`; `docs/annotate.md` lists what is read, and what is refused.
"""

from sim2edge.annotate.config import AnnotateConfig
from sim2edge.stage import Grants, Image, Shown, Source, Stage, named

STAGE = Stage(
    name="annotate",
    version=2,
    produces="frames",
    config=AnnotateConfig,
    entry="sim2edge.annotate.run:run",
    ref="refs/frames/{partition}",
    source=Source(
        pin="sim2edge.inbox:pin",
        pins=("ready",),
        fetch="sim2edge.annotate.others:fetch",
        deliver="sim2edge.annotate.deliver:deliver_folder",
        files=("*annotations*.json", "*instances*.json", "*coco*.json", "*labels.json", "*result.json"),
    ),
    instead_of="clean",
    grants=Grants(read=("inbox/*",), write=("inbox/*/*/*",), create=("inbox/*/READY.json",)),
    shown=Shown(
        figures=named("frames", "frames_seen", "episodes", "episodes_failed"),
        headline=lambda figures: f"{figures['frames'] / figures['frames_seen']:.1%} kept",
        report="report.html",
        documented="annotate",
    ),
    image=Image(parent="tables"),
)
