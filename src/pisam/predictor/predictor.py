"""Interactive use: an image, a prompt, then clicks, each answered with a mask of the image's own size."""

from __future__ import annotations

from pisam.modeling.pisam import PiSam
from pisam.modeling.segmenters import PiSamSegmenter
from pisam.predictor.interactive import InteractivePredictor
from pisam.predictor.torch_engine import TorchEngine


class PiSamPredictor(InteractivePredictor):
    """Segments objects of images of any size with Pi-SAM; the verbs are those of `InteractivePredictor`.

    Args:
        model: the network, used on the device it is on and put into evaluation mode.
        guarantee: whether each clicked pixel has its label after `click`, whatever the network says.
        reprompt: ask the decoder again after each click; None = if the model was trained for that.
    """

    def __init__(self, model: PiSam, *, guarantee: bool = True, reprompt: bool | None = None) -> None:
        self.model = model.eval()
        engine = TorchEngine(PiSamSegmenter(self.model, reprompt=reprompt))
        super().__init__(engine, guarantee=guarantee)
