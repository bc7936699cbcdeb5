"""Scores of masks at original size: functions of one pair, sums over data sets, and how a number was made.

`all_scores(prediction, mask)` is the row of one image in `per_image.csv`; `set_scores.SetScores` sums rows
over data sets and ranks. What is scored is an 8-bit level per pixel (`protocol`). Where published protocols
differ, this is ours; except for iou, biou and the three notes below, it is that of PySODMetrics, to rounding:

| metric | of what | threshold | over a data set |
|---|---|---|---|
| iou, biou | the levels as they are | level > 127, as probability > 0.5 | mean over images |
| max_f, max_e | normalised v | the best of t = 0 .. 255 for floor(255 v) >= t | see below |
| mean_f, mean_e | normalised v | mean over those t | mean over images |
| adaptive_f, adaptive_e | normalised v | v >= min(1, twice the mean of v) | mean over images |
| weighted_f, mae, s_measure | normalised v | none | mean over images |
| hce | normalised v | v > 0.5 | mean over images |

- max_f of an image is at its own best threshold. Over a data set `max_f` is what papers print: the images'
  curves are averaged first, and one threshold is best for all; `max_f_per_image` is the mean of the images'
  own. The same holds for max_e.
- min-max normalisation stretches the levels of each image to [0, 1]; a constant prediction stays as it is. It
  cannot be had from pixels of several images at once, so scores are of whole images, each at its original
  size.
- F is computed per image and then averaged; precision and recall averaged first, as in older code, give
  another F.
- beta^2 is 0.3 in F and 1 in weighted_f; gamma is 5 in hce; the band of biou is 0.02 of the diagonal.
- Empty mask: iou and biou are 1 if the prediction is empty too, else 0; F is 0 in any case; E counts rejected
  pixels; s_measure is 1 - mean(v). A data set with empty masks therefore says little in F.
- Notes: E divides by N - 1, so it may exceed 1 by 1 / N; s_measure of a mask that touches the image's last
  row or column with its centroid is a number here and NaN in PySODMetrics; over several sets every score is
  the mean of the sets' scores.
"""

from __future__ import annotations

from pisam.metrics.functional import KnownMask as KnownMask
from pisam.metrics.image_scores import METRICS as METRICS
from pisam.metrics.image_scores import SLOW as SLOW
from pisam.metrics.image_scores import ImageScores as ImageScores
from pisam.metrics.image_scores import all_scores as all_scores
from pisam.metrics.image_scores import score_image as score_image
