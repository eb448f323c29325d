"""List the forms the network is exported in: name, file and precision."""

from dataclasses import dataclass
from pathlib import Path

from sim2edge.edge.detector.runtime import RUNTIME_OF_SUFFIX

FLOAT32 = "float32"
FLOAT16 = "float16"
INT8 = "int8"


@dataclass(frozen=True)
class Form:
    """One form: its name, the file it is written to, and its precision."""

    name: str
    file: str
    precision: str

    @property
    def on_device(self) -> bool:
        """Whether a device runtime can load it."""
        return Path(self.file).suffix in RUNTIME_OF_SUFFIX


FORMS = (
    Form("onnx", "model.onnx", FLOAT32),
    Form("torchscript", "model.torchscript", FLOAT32),
    Form("tflite-float32", "model.float32.tflite", FLOAT32),
    Form("tflite-float16", "model.float16.tflite", FLOAT16),
    Form("tflite-int8", "model.int8.tflite", INT8),
)
