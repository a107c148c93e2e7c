"""Comparisons per second of one reward-model step: this project's K-wise step, and TRL's RewardTrainer on pairs.

    OMP_NUM_THREADS=1 python benchmarks/reward_step.py --trl

One step covers `prompts` prompts x C(K, 2) pairs, forward, backward and AdamW, on a random GPT-2 (4 layers of 192,
vocabulary 4096, prompts of 48 and completions of 32 tokens by default). It measures CPU seconds with one thread, which
other work on the machine hardly changes, and else wall seconds. Prints one line of JSON with medians.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from utils.core.runtime import machine, torch_generator, versions
from utils.models.loading import fuse_gelu
from utils.reward.batches import Group
from utils.reward.scoring import Scorer, plain_scores, score_groups
from utils.reward.train import kwise_step
from utils.training.loop import make_optimizer

PAD, EOS, FIRST_WORD, VOCAB = 0, 1, 3, 4096
WARM_UP_STEPS = 2


def clock() -> float:
    """CPU seconds of this process with one thread, else wall seconds."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def build_model(args: argparse.Namespace) -> GPT2ForSequenceClassification:
    """A random reward model without dropout."""
    torch.manual_seed(1)
    config = GPT2Config(
        n_layer=args.layers, n_embd=args.width, n_head=args.heads, n_positions=args.prompt + args.response,
        vocab_size=VOCAB, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD, num_labels=1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2ForSequenceClassification(config).train()


def build_groups(args: argparse.Namespace) -> list[Group]:
    """Random prompts, each with K distinct completions without ties."""
    draw = torch_generator(0, "benchmark", "reward_step")
    words = lambda *shape: torch.randint(FIRST_WORD, VOCAB, shape, generator=draw).tolist()  # noqa: E731
    which, ranks = list(range(args.k)), list(range(1, args.k + 1))
    return [Group(words(args.prompt), words(args.k, args.response), which, ranks) for _ in range(args.prompts)]


def median_seconds(step: Callable[[], None], repeats: int) -> float:
    """Median over `repeats` steps after a warm-up."""
    times = []
    for _ in range(WARM_UP_STEPS + repeats):
        start = clock()
        step()
        times.append(clock() - start)
    return statistics.median(times[WARM_UP_STEPS:])


def time_ours(args: argparse.Namespace, groups: list[Group], scorer: Scorer) -> float:
    """Seconds of our step with this function that scores the completions."""
    model = build_model(args)
    fuse_gelu(model)
    optimizer = make_optimizer(model.parameters(), 1e-5)

    def step() -> None:
        kwise_step(model, groups, PAD, torch.device("cpu"), scorer).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return median_seconds(step, args.repeats)


def time_trl(args: argparse.Namespace, groups: list[Group]) -> float:
    """Seconds of a step of TRL's RewardTrainer on all pairs of the same groups."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    pairs = [
        ([*g.prompt, *g.responses[i]], [*g.prompt, *g.responses[j]])
        for g in groups
        for i, j in itertools.combinations(range(args.k), 2)
    ]
    vocabulary = {"<pad>": PAD, "<eos>": EOS, "<unk>": 2} | {f"w{i}": i for i in range(FIRST_WORD, VOCAB)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            marks.append(clock())

    steps = WARM_UP_STEPS + args.repeats
    rows = Dataset.from_dict({
        "chosen_ids": [better for better, _ in pairs] * steps, "rejected_ids": [worse for _, worse in pairs] * steps
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = RewardConfig(
            output_dir=folder, per_device_train_batch_size=len(pairs), max_steps=steps, report_to="none",
            save_strategy="no", bf16=False, gradient_checkpointing=False, use_cpu=True, disable_tqdm=True,
            learning_rate=1e-5, max_length=None,
        )  # fmt: skip
        trainer = RewardTrainer(
            model=build_model(args), args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()]
        )
        trainer.train()
    return statistics.median(b - a for a, b in itertools.pairwise(marks[WARM_UP_STEPS - 1 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"prompts": 2, "k": 9, "prompt": 48, "response": 32, "layers": 4, "width": 192, "heads": 4, "repeats": 9}
    for name, value in (sizes | {"threads": 1}).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--trl", action="store_true", help="time TRL's RewardTrainer (pairs) as well; needs trl")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    groups = build_groups(args)
    comparisons = args.prompts * args.k * (args.k - 1) // 2
    seconds = {"kwise": time_ours(args, groups, score_groups), "kwise_plain": time_ours(args, groups, plain_scores)}
    if args.trl:
        seconds["trl_pairs"] = time_trl(args, groups)
    result: dict[str, object] = {"benchmark": "reward_step", **vars(args), "comparisons_per_step": comparisons}
    result["seconds_per_step"] = {name: round(value, 5) for name, value in seconds.items()}
    result["comparisons_per_second"] = {name: round(comparisons / value, 1) for name, value in seconds.items()}
    if args.trl:
        result["speedup_over_trl_pairs"] = round(seconds["trl_pairs"] / seconds["kwise"], 2)
    result |= {"machine": machine(), "versions": versions()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
