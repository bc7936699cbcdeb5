"""SAM and HQ-SAM as segmenters: clicks are point prompts beside the box."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.types import Clicks, Prompts, SamFeatures
from pisam.modeling.hq_sam import HqSam
from pisam.modeling.sam_encoder import with_clicks
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.segmenters import EncodedImage, State, encode


class SamSegmenter:
    """SAM's own mask decoder: clicks are point prompts beside the box, one mask comes back.

    For a single point alone it is the last of SAM's three masks, the whole.

    Args:
        model: any network on frozen SAM; only its SAM is used.
        name: in tables.
        mask_input: give SAM its previous mask together with the clicks.
    """

    model: SamNetwork

    def __init__(self, model: SamNetwork, name: str = "SAM", *, mask_input: bool = False) -> None:
        self.model = model
        self.name = name
        self.mask_input = mask_input

    def of_image(self, encoded: EncodedImage) -> Tensor | None:
        """See `State`."""
        return None

    def decode(self, features: SamFeatures, of_image: Tensor | None) -> Tensor:
        """Mask logits (1, 1, F, F) of one image from its features and prompts, and what `of_image` gave."""
        whole = features.ambiguous is not None and bool(features.ambiguous)
        masks, _ = self.model.decoder.get_submodule("sam_decoder")(
            image_embeddings=features.image_embedding,
            image_pe=features.position,
            sparse_prompt_embeddings=features.sparse_prompt,
            dense_prompt_embeddings=features.dense_prompt,
            multimask_output=whole,
        )
        return masks[:, -1:]  # of three the last is of the whole, see `sam_mask`

    @torch.no_grad()
    def first(
        self,
        image: Tensor,
        box: Tensor,
        encoded: EncodedImage | None = None,
        prompts: Prompts | None = None,
    ) -> State:
        encoded = encode(self.model, image, encoded)
        of_image = self.of_image(encoded)
        rows = range(len(box))
        low_res = torch.cat([self._answer(encoded, of_image, box, prompts, row) for row in rows])
        return State(_to_frame(low_res, image), low_res, encoded, box, prompts, of_image=of_image)

    @torch.no_grad()
    def after(self, state: State, clicks: Clicks) -> State:
        prompts = with_clicks(state.prompts, clicks, state.low_res if self.mask_input else None)
        # One by one: padding to equal numbers of points would take part in SAM's attention.
        low_res = torch.cat(
            [
                self._answer(state.encoded, state.of_image, state.box, prompts, row)
                if clicks.valid[row].any()
                else state.low_res[row : row + 1]
                for row in range(len(state.box))
            ]
        )
        return replace(state, logits=_to_frame(low_res, state.encoded.image), low_res=low_res)

    def _answer(
        self,
        encoded: EncodedImage,
        of_image: Tensor | None,
        box: Tensor,
        prompts: Prompts | None,
        row: int,
    ) -> Tensor:
        """Logits (1, 1, F, F) of one sample of the batch."""
        one = slice(row, row + 1)
        features = self.model.encoder.prompt(
            encoded.embedding[one],
            encoded.early[one],
            box[one],
            None if prompts is None else prompts.select([row]),
        )
        return self.decode(features, None if of_image is None else of_image[one])


class HqSamSegmenter(SamSegmenter):
    """HQ-SAM, prompted as SAM is.

    Args:
        model: in evaluation mode.
        name: in tables.
        mask_input: give it its previous mask together with the clicks.
        add_sam: answer with the sum of the HQ mask and SAM's, as the authors do by default, instead of the HQ
            mask alone, which they advise for pictures of one object and which training scores.
    """

    model: HqSam

    def __init__(
        self, model: HqSam, name: str = "HQ-SAM", *, mask_input: bool = False, add_sam: bool = False
    ) -> None:
        super().__init__(model, name, mask_input=mask_input)
        self.add_sam = add_sam

    def of_image(self, encoded: EncodedImage) -> Tensor:
        return self.model.decoder.hq_feature(encoded.embedding, encoded.early)

    def decode(self, features: SamFeatures, of_image: Tensor | None) -> Tensor:
        sam, hq = self.model.decoder(features, of_image)
        return sam + hq if self.add_sam else hq


def _to_frame(low_res: Tensor, image: Tensor) -> Tensor:
    """Logits (B, 1, F, F) -> (B, 1, S, S), as SAM enlarges its masks."""
    return F.interpolate(low_res.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
