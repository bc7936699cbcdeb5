from __future__ import annotations

import torch
from segment_anything.modeling.transformer import Attention as SamAttention

from helpers.model_inputs import normal, randomise
from pisam.modeling.attention import Attention


def test_equals_sams_attention_with_one_head() -> None:
    ours, sams = randomise(Attention(32)), SamAttention(32, num_heads=1)
    sams.load_state_dict(ours.state_dict())
    q, k, v = normal(2, 7, 32), normal(2, 5, 32, seed=1), normal(2, 5, 32, seed=2)
    torch.testing.assert_close(ours(q, k, v), sams(q, k, v), atol=1e-5, rtol=1e-5)


def test_masked_keys_take_no_part() -> None:
    attention = randomise(Attention(32))
    q, k, v = normal(2, 7, 32), normal(2, 5, 32, seed=1), normal(2, 5, 32, seed=2)
    valid = torch.tensor([[True, False, True, True, False], [True] * 5])

    masked = attention(q, k, v, valid)

    kept = valid[0]
    torch.testing.assert_close(masked[:1], attention(q[:1], k[:1, kept], v[:1, kept]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masked[1:], attention(q[1:], k[1:], v[1:]), atol=1e-5, rtol=1e-5)
    assert (masked[:1] - attention(q[:1], k[:1], v[:1])).abs().max() > 1e-3
