"""Sampled tokens per second of this project's `sample`, of transformers' `generate`, and of the matrix products alone.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py

The same model and prompts: 256 prompts of the shipped run, its policy `init`, at most 32 new tokens, temperature 1, ended by
the same tokens. The two take turns. CPU seconds with one thread, else wall seconds. Prints one line of JSON with medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from utils.core.runtime import machine, stream_seed, versions
from utils.data.encoding import pad_left, stop_ids
from utils.lessons.shipped_run import shipped
from utils.sampling import Decoding, episode_uniforms, sample


def clock() -> float:
    """CPU seconds of this process with one thread, else wall seconds."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(call: Callable[[], int]) -> tuple[float, int]:
    """Seconds of a call and the tokens that it gives."""
    start = clock()
    tokens = call()
    return clock() - start, tokens


def generate(model: GPT2LMHeadModel, prompts: list[list[int]], how: Decoding) -> int:
    """Tokens that transformers samples, up to and with the stop token of each row."""
    ids, mask = pad_left(prompts, how.pad_id)
    config = GenerationConfig(
        max_new_tokens=how.max_new_tokens, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=how.pad_id,
        eos_token_id=list(how.stop_ids),
    )  # fmt: skip
    made = model.generate(input_ids=ids, attention_mask=mask.long(), generation_config=config)[:, ids.shape[1] :]
    stopped = torch.isin(made, torch.tensor(how.stop_ids)).long().cumsum(1)
    return int((stopped - torch.isin(made, torch.tensor(how.stop_ids)).long() == 0).sum())


@torch.no_grad()
def products(model: GPT2LMHeadModel, rows: int) -> int:
    """The matrix products with weights of one step of `rows` rows."""
    for block in model.transformer.h:
        for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            torch.randn(rows, part.weight.shape[0]) @ part.weight
    torch.randn(rows, model.config.n_embd) @ model.lm_head.weight.t()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"prompts": 256, "new_tokens": 32, "repeats": 7, "threads": 1}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = shipped()
    sampler = run.sampler(run.model_dir("init"))
    prompts = sampler.encode_all([p.prompt for p in run.prompts("rm")[: args.prompts]])
    how = Decoding(args.new_tokens, stop_ids(sampler.tokenizer), sampler.tokenizer.pad_token_id)
    uniforms = episode_uniforms([stream_seed(0, "benchmark", i) for i in range(len(prompts))], args.new_tokens)
    peer = GPT2LMHeadModel.from_pretrained(run.model_dir("init")).eval()  # as transformers loads it
    calls: dict[str, Callable[[], int]] = {
        "ours": lambda: int(sample(sampler.model, prompts, uniforms, how).response_mask.sum()),
        "generate": lambda: generate(peer, prompts, how),
        "products": lambda: products(peer, len(prompts)),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(args.repeats + 1):
        for name, call in calls.items():
            spent, tokens = seconds(call)
            if repeat:  # the first one warms up
                found[name].append(spent / tokens)
    medians = {name: statistics.median(values) for name, values in found.items()}
    result: dict[str, object] = {"benchmark": "sampling", **vars(args)}
    result["microseconds_per_token"] = {name: round(1e6 * value, 2) for name, value in medians.items()}
    result["tokens_per_second"] = {name: round(1 / value, 1) for name, value in medians.items()}
    result["speedup_over_generate"] = round(medians["generate"] / medians["ours"], 2)
    print(json.dumps(result | {"machine": machine(), "versions": versions()}))


if __name__ == "__main__":
    main()
