"""Decoding with kept keys and values gives the logits of the whole forward pass, in both layouts of the cache."""

from __future__ import annotations

import pytest
import torch

from utils.models import gpt2
from utils.models.loading import gpt2_config, new_policy

PADDED = (0, 3, 5, 0)  # tokens of padding on the left of each row


@pytest.mark.parametrize(("size", "kind"), [(8, gpt2._SmallHeadsCache), (64, gpt2._Cache)])
@pytest.mark.parametrize("padded", [PADDED, (0, 0, 0, 0)], ids=["padded", "whole"])
def test_logits_are_those_of_the_whole_model(size: int, kind: type[gpt2._Cache], padded: tuple[int, ...]) -> None:
    model = new_policy(gpt2_config(100, 2 * size, 2, 2, 32, 0.2), 1).eval()
    ids = torch.randint(3, 100, (4, 9), generator=torch.Generator().manual_seed(2))
    new = torch.randint(3, 100, (4, 6), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(9) >= torch.tensor(padded)[:, None]
    rows = torch.arange(4)

    def whole(steps: int) -> torch.Tensor:
        """Logits after the prompt and `steps` more tokens, each row alone and without padding."""
        read = [torch.cat([ids[i][mask[i]], new[i, :steps]])[None] for i in rows]
        return torch.cat([model(input_ids=row).logits[:, -1] for row in read])

    with torch.no_grad():
        decoder = gpt2.Decoder(model, ids, mask, 6)
        assert type(decoder.cache) is kind
        torch.testing.assert_close(decoder.prefill(), whole(0), rtol=1e-4, atol=1e-4)
        for steps in range(1, 7):
            if steps in (3, 5):  # some rows have ended
                kept = torch.tensor([0, 2, 3] if steps == 3 else [1, 2])
                decoder.select(kept)
                rows = rows[kept]
            torch.testing.assert_close(decoder.step(new[rows, steps - 1]), whole(steps), rtol=1e-4, atol=1e-4)
