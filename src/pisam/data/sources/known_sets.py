"""The published sets: where each is to be had and on which terms, its folders and its number of pairs.

Folders and counts are those of the distributions: the authors' own, and HQSeg-44K, which repacks some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["train", "test", "own"]

HQSEG = "thin_object_detection"


@dataclass(frozen=True)
class Publication:
    """Whose sets they are."""

    title: str
    page: str  # the authors' page, which links to the files
    terms: str  # what its authors say about use


@dataclass(frozen=True)
class Layout:
    """Folders below the data root, as one distribution has them."""

    images: str
    masks: str
    pairs: int  # how many pairs it holds there
    names: str | None = None  # the list of this part's files, where one folder holds several parts


@dataclass(frozen=True)
class KnownSet:
    """A published set: its role and the layouts it is distributed in, the authors' own first."""

    role: Role
    publication: Publication
    layouts: tuple[Layout, ...]
    ignore: int | None = None  # the value of its masks' pixels that count neither way


DIS5K = Publication(
    "DIS5K (Highly Accurate Dichotomous Image Segmentation, ECCV 2022)",
    "https://github.com/xuebinqin/DIS",
    "DIS5K-Dataset-Terms-of-Use.pdf there: research and education, not commercial, not to be passed on",
)
HRSOD = Publication(
    "HRSOD (Towards High-Resolution Salient Object Detection, ICCV 2019)",
    "https://github.com/yi94code/HRSOD",
    "none clearly stated on the page; ask its authors about anything but research",
)
UHRSD = Publication(
    "UHRSD, the 2K version (Pyramid Grafting Network, CVPR 2022)",
    "https://github.com/iCVTEAM/PGNet",
    "none clearly stated on the page; ask its authors about anything but research",
)
THIN_OBJECT = Publication(
    "ThinObject-5K, with COIFT (Deep Interactive Thin Object Selection, WACV 2021)",
    "https://github.com/liewjunhao/thin-object-selection",
    "CC BY-NC 4.0",
)
HQSEG_44K = Publication(
    "HQSeg-44K (Segment Anything in High Quality, NeurIPS 2023) repacks DIS5K-TR and -VD, ThinObject-5K, "
    "COIFT and 287 test images of HRSOD",
    "https://github.com/SysCV/sam-hq (train/README.md)",
    "those of each set",
)
RITM = Publication(
    "GrabCut, Berkeley and DAVIS as interactive segmentation scores them (f-BRS, CVPR 2020; RITM, ICIP 2022)",
    "https://github.com/SamsungLabs/ritm_interactive_segmentation (GrabCut.zip, Berkeley.zip, DAVIS.zip)",
    "those of each set; ask its authors about anything but research",
)


def _dis5k(part: str, role: Role, pairs: int) -> KnownSet:
    return KnownSet(role, DIS5K, (Layout(f"DIS5K/DIS-{part}/im", f"DIS5K/DIS-{part}/gt", pairs),))


def _thin_object(part: str, role: Role, pairs: int) -> KnownSet:
    name = "ThinObject5K"
    split = (f"images_{part}", f"masks_{part}")
    return KnownSet(
        role,
        THIN_OBJECT,
        (
            Layout(f"{name}/{split[0]}", f"{name}/{split[1]}", pairs),
            Layout(f"{name}/images", f"{name}/masks", pairs, names=f"{name}/list/{part}.txt"),
            Layout(f"{HQSEG}/{name}/{split[0]}", f"{HQSEG}/{name}/{split[1]}", pairs),
        ),
    )


def _hrsod(part: str) -> tuple[str, str]:
    return f"HRSOD_release/HRSOD_{part}", f"HRSOD_release/HRSOD_{part}_mask"


KNOWN_SETS: dict[str, KnownSet] = {
    "DIS5K-TR": _dis5k("TR", "train", 3000),
    "DIS5K-VD": _dis5k("VD", "test", 470),
    "DIS5K-TE1": _dis5k("TE1", "test", 500),
    "DIS5K-TE2": _dis5k("TE2", "test", 500),
    "DIS5K-TE3": _dis5k("TE3", "test", 500),
    "DIS5K-TE4": _dis5k("TE4", "test", 500),
    "HRSOD-TR": KnownSet("train", HRSOD, (Layout(*_hrsod("train"), 1610),)),
    "HRSOD-TE": KnownSet(
        "test",
        HRSOD,
        (Layout(*_hrsod("test"), 400), Layout(f"{HQSEG}/HRSOD/images", f"{HQSEG}/HRSOD/masks_max255", 287)),
    ),
    "UHRSD-TR": KnownSet("train", UHRSD, (Layout("UHRSD_TR_2K/image", "UHRSD_TR_2K/mask", 4932),)),
    "UHRSD-TE": KnownSet("test", UHRSD, (Layout("UHRSD_TE_2K/image", "UHRSD_TE_2K/mask", 988),)),
    "ThinObject5K-TR": _thin_object("train", "train", 4748),
    "ThinObject5K-TE": _thin_object("test", "test", 500),
    "COIFT": KnownSet(
        "test",
        THIN_OBJECT,
        (
            Layout("COIFT/images", "COIFT/masks", 280),
            Layout(f"{HQSEG}/COIFT/images", f"{HQSEG}/COIFT/masks", 280),
        ),
    ),
    "DAVIS": KnownSet("test", RITM, (Layout("DAVIS/img", "DAVIS/gt", 345),)),
    "GrabCut": KnownSet("test", RITM, (Layout("GrabCut/data_GT", "GrabCut/boundary_GT", 50),), ignore=128),
    "Berkeley": KnownSet("test", RITM, (Layout("Berkeley/images", "Berkeley/masks", 100),)),
}

# A name for several sets, each in the layout of so many pairs.
GROUPS: dict[str, dict[str, int]] = {
    "HQSEG44K-VAL": {"DIS5K-VD": 470, "HRSOD-TE": 287, "ThinObject5K-TE": 500, "COIFT": 280}
}
