"""The models that an interaction benchmark compares, and the uses of each that get rows of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pisam.modeling.hq_sam import HqSam
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.segmenters import HqSamSegmenter, PiSamSegmenter, SamSegmenter, Segmenter
from pisam.predictor.session import Answer
from pisam.predictor.torch_engine import TorchEngine


@dataclass
class BenchmarkModels:
    """The models that take part.

    Attributes:
        pi: the network that is clicked on its own errors.
        asked: SAM, HQ-SAM where there is one, and last Pi-SAM; their common error is clicked.
        with_mask: SAM and HQ-SAM given their previous mask too, by the names of those of `asked` whose answer
            to a box is theirs.
        again: Pi-SAM whose decoder is asked again after each click, where it was trained for that.
    """

    pi: PiSam
    asked: list[Segmenter]
    with_mask: dict[str, Segmenter]
    again: PiSamSegmenter | None

    @classmethod
    def of(cls, networks: dict[str, SamNetwork]) -> BenchmarkModels:
        pi, hq = networks["pi"], networks.get("hq")
        assert isinstance(pi, PiSam)
        asked: list[Segmenter] = [SamSegmenter(pi)]
        with_mask: dict[str, Segmenter] = {"SAM": SamSegmenter(pi, "SAM+mask", mask_input=True)}
        if isinstance(hq, HqSam):
            asked.append(HqSamSegmenter(hq))
            with_mask["HQ-SAM"] = HqSamSegmenter(hq, "HQ-SAM+mask", mask_input=True)
        again = PiSamSegmenter(pi, "Pi-SAM+reprompt", reprompt=True)
        trained = PiSamSegmenter(pi).reprompt
        return cls(pi, [*asked, PiSamSegmenter(pi, reprompt=False)], with_mask, again if trained else None)

    def benchmarked(self, firsts: Mapping[str, Answer]) -> dict[str, Answer]:
        """The answers to a box from which the benchmark clicks, by the names of its rows.

        The strongest form of each model stands there with the guarantee too.
        """
        rows = dict(firsts)
        rows |= {
            segmenter.name: replace(firsts[name], engine=TorchEngine(segmenter))
            for name, segmenter in self.with_mask.items()
        }
        strongest = {name: rows[name] for name in rows if name.endswith("+mask")}
        uses = self.used(firsts)
        return {**rows, **{_guaranteed(n): replace(a, guarantee=True) for n, a in strongest.items()}, **uses}

    def used(self, firsts: Mapping[str, Answer]) -> dict[str, Answer]:
        """Pi-SAM's answer to a box in each use: the interactor alone, as in the paper, comes first."""
        pi = firsts["Pi-SAM"]
        uses = {"Pi-SAM": pi}
        if self.again:
            uses[self.again.name] = replace(pi, engine=TorchEngine(self.again))
        last, answer = list(uses.items())[-1]
        return {**uses, _guaranteed(last): replace(answer, guarantee=True)}


def _guaranteed(name: str) -> str:
    return f"{name}+guarantee"
