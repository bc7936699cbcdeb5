"""A SAM checkpoint of the published names and shapes, with random values, for the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry


@pytest.fixture(scope="session")
def random_sam_vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Meta's `sam_vit_b_01ec64.pth`: 375 MB."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]()
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "pos" in name:  # tables that start at zero would hide a wrong index
                parameter.normal_(0, 0.02)
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b_random.pth"
    torch.save(sam.state_dict(), path)
    return path
