"""CPU seconds of one PPO update (sample, score, train) of this project, alone or compared with TRL 1.12's PPOTrainer.

    python benchmarks/ppo_update.py --size tiny
    python benchmarks/ppo_update.py --size tiny --vs-trl --trl-python PYTHON_WITH_TRL_1_12 --repeats 3

Random GPT-2s, prompts of 32 tokens, responses of 32 that never end early, batch 64, minibatch 16, temperature 1, one
core. `matrix_product_seconds` are those of the update's own matrix products alone (benchmarks/products.py).
TRL 1.12.0 is the last release with a PPOTrainer and needs its own environment. For a comparison the two run
in turn, each in a new process on the same core. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = {
    "tiny": dict(n_layer=4, n_embd=192, n_head=4, vocab_size=4096, n_positions=256),
    "small": dict(n_layer=6, n_embd=384, n_head=6, vocab_size=8192, n_positions=256),
    "gpt2": dict(n_layer=12, n_embd=768, n_head=12, vocab_size=50257, n_positions=1024),
    "gpt2-xl": dict(n_layer=48, n_embd=1600, n_head=25, vocab_size=50257, n_positions=1024),
}
PAD, EOS = 0, 1


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--inner-epochs", type=int, default=1)
    parser.add_argument("--updates", type=int, default=6, help="updates timed in each process")
    parser.add_argument("--warmup", type=int, default=2, help="updates before the clock starts")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--minibatch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--response", type=int, default=32)
    parser.add_argument("--core", type=int, default=0, help="core to run on; -1: any")
    parser.add_argument("--vs-trl", action="store_true", help="also time TRL 1.12's PPOTrainer")
    parser.add_argument("--trl-python", default=sys.executable, help="a Python in which trl 1.12 can be imported")
    parser.add_argument("--repeats", type=int, default=1, help="processes of each kind with --vs-trl")
    parser.add_argument("--worker", choices=("ours", "trl"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def model_config(size: str) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        **SIZES[size], bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD, num_labels=1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip


def random_policy(size: str) -> Any:
    """A random GPT-2 that never samples the padding token (its logit is -50 everywhere)."""
    import torch
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(model_config(size))
    with torch.no_grad():
        norm, embedding = model.transformer.ln_f, model.transformer.wte.weight
        norm.weight[0], norm.bias[0] = 0.0, 1.0
        embedding[:, 0] = 0.0
        embedding[PAD] = 0.0
        embedding[PAD, 0] = -50.0
    return model


def random_scorer(size: str, seed: int) -> Any:
    import torch
    from transformers import GPT2ForSequenceClassification

    torch.manual_seed(seed)
    return GPT2ForSequenceClassification(model_config(size))


def random_prompts(args: argparse.Namespace) -> list[list[int]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (args.batch * 4, args.prompt)
    return torch.randint(3, SIZES[args.size]["vocab_size"], shape, generator=generator).tolist()


class PartClock:
    """Seconds of the parts of an update, by wrapping functions where they are looked up. now(): the clock.

    Readings of the models inside a training step (with gradients) belong to that step.
    """

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.now = now
        self.wrapped: list[tuple[Any, str, Callable[..., Any]]] = []

    def wrap(self, owner: Any, name: str, part: str) -> None:
        import torch

        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            inside_a_step = part.endswith("forward") and torch.is_grad_enabled()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent["" if inside_a_step else part] += self.now() - start

        self.wrapped.append((owner, name, function))
        setattr(owner, name, timed)

    def unwrap(self) -> None:
        """Put the functions back."""
        for owner, name, function in self.wrapped:
            setattr(owner, name, function)
        self.wrapped.clear()


def time_ours(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds per update of this project's PPO."""
    import torch
    from products import product_seconds, recorded

    torch.set_num_threads(1)
    seconds, parts = ppo_updates(args)
    # One more update, for the shapes of its matrix products; these alone, as often as updates were timed.
    with recorded() as products:
        ppo_updates(argparse.Namespace(**vars(args) | {"warmup": 0, "updates": 1}))
    alone = statistics.median(product_seconds(products) for _ in range(args.updates))
    summary = _summary("ours", args, seconds, parts)
    ratio = summary["cpu_seconds_per_update"] / alone
    return summary | {"matrix_product_seconds": round(alone, 4), "times_matrix_products": round(ratio, 3)}


def ppo_updates(
    args: argparse.Namespace, device: str = "cpu", now: Callable[[], float] = time.process_time, latest: float = float("inf")
) -> tuple[list[float], list[dict[str, float]]]:
    """Seconds of each update after the first ones, whole and by part, by the clock `now`.

    latest: `time.monotonic()` after which no further update starts, once one is timed.
    """
    from utils.config import DataConfig, PPOConfig
    from utils.models.dropout import disable_dropout
    from utils.models.loading import fuse_gelu
    from utils.ppo import experience as episodes
    from utils.ppo import update
    from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer
    from utils.training.setup import StageSetup

    cfg = PPOConfig(
        episodes_per_round=args.batch, minibatch_size=args.minibatch, inner_epochs=args.inner_epochs,
        learning_rate=1e-5, value_learning_rate=1e-5, value_warmup_rounds=0, rounds=args.warmup + args.updates,
    )  # fmt: skip
    policy, reference = random_policy(args.size), random_policy(args.size)
    reward, value = random_scorer(args.size, 1), random_scorer(args.size, 2)
    for model in (policy, reference, reward, value):
        fuse_gelu(model)
        disable_dropout(model)
        model.to(device)
    actors = episodes.PPOModels(policy, reference, reward, value, stops=(), eos_id=EOS, pad_id=PAD)
    prompts = random_prompts(args)
    clock = PartClock(now)
    for name, part in (("sample", "sample"), ("reward_scores", "reward"), ("response_values", "value_forward"),
                       ("response_logprobs", "reference_forward")):  # fmt: skip
        clock.wrap(episodes, name, part)
    for name, part in (("update_policy", "train_policy"), ("update_value", "train_value"), ("ema_update", "ema")):
        clock.wrap(update, name, part)
    average = {name: weight.detach().clone() for name, weight in policy.named_parameters()}
    setup = StageSetup(DataConfig(max_response_tokens=args.response), seed=0, device=device)
    seconds, parts = [], []
    with tempfile.TemporaryDirectory() as folder:
        loop = TrainingLoop(
            folder, LoopSettings("bench", cfg.rounds, seed=0), models={"policy": policy, "value": value},
            optimizers={
                "policy": make_optimizer(policy.parameters(), cfg.learning_rate),
                "value": make_optimizer(value.parameters(), cfg.value_learning_rate),
            },
            extra=lambda: {"ema": average},
        )  # fmt: skip
        for round_ in range(cfg.rounds):
            if round_ > args.warmup and time.monotonic() > latest:
                break
            clock.spent.clear()
            start = now()
            chosen = episodes.round_prompts(len(prompts), round_, args.batch, 0)
            seeds = [round_ * args.batch + i for i in range(args.batch)]
            experience = episodes.collect_round(actors, [prompts[i] for i in chosen], seeds, cfg, setup)
            episodes.experience_metrics(experience)
            update.update_round(loop, actors, experience, round_, cfg, setup)
            seconds.append(now() - start)
            parts.append(dict(clock.spent))
    clock.unwrap()
    return seconds[args.warmup :], parts[args.warmup :]


def time_trl(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds per update of TRL 1.12's PPOTrainer on the same models and prompts."""
    import contextlib
    import io
    import warnings

    warnings.filterwarnings("ignore")
    import torch
    import transformers
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    vocabulary = {"<pad>": PAD, "<eos>": EOS} | {f"w{i}": i for i in range(2, SIZES[args.size]["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w2")), pad_token="<pad>", eos_token="<eos>",
        padding_side="left",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        settings = PPOConfig(
            output_dir=folder, per_device_train_batch_size=args.batch, gradient_accumulation_steps=1,
            num_mini_batches=args.batch // args.minibatch, num_ppo_epochs=args.inner_epochs,
            total_episodes=args.batch * (args.warmup + args.updates), response_length=args.response, temperature=1.0,
            stop_token=None, num_sample_generations=0, gradient_checkpointing=False, bf16=False, use_cpu=True,
            report_to="none", save_strategy="no", disable_tqdm=True, learning_rate=1e-5,
        )  # fmt: skip
        PPOTrainer(
            args=settings, processing_class=tokenizer, model=random_policy(args.size),
            ref_model=random_policy(args.size), reward_model=random_scorer(args.size, 1),
            value_model=random_scorer(args.size, 2), callbacks=[Clock()],
            train_dataset=Dataset.from_dict({"input_ids": random_prompts(args)}),
        ).train()  # fmt: skip
    seconds = [b - a for a, b in zip(marks, marks[1:], strict=False)][args.warmup :]
    return _summary("trl", args, seconds, [])


def _summary(kind: str, args: argparse.Namespace, seconds: list[float], parts: list[dict[str, float]]) -> dict[str, Any]:
    median = statistics.median(seconds)
    names = {name for part in parts for name in part if name}
    result: dict[str, Any] = {
        "bench": "ppo_update", "kind": kind, "size": args.size, "inner_epochs": args.inner_epochs,
        "batch": args.batch, "minibatch": args.minibatch, "prompt": args.prompt, "response": args.response,
        "cpu_seconds_per_update": round(median, 4), "min": round(min(seconds), 4), "max": round(max(seconds), 4),
    }  # fmt: skip
    if names:
        result["parts"] = {n: round(statistics.median(p.get(n, 0.0) for p in parts), 4) for n in sorted(names)}
    return result


def run_worker(kind: str, python: str) -> dict[str, Any]:
    """The same command line in a fresh process of `python`, as one kind of worker; its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, str(Path(__file__).resolve()), *sys.argv[1:], "--worker", kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The {kind} worker failed: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    args = parse()
    if args.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    if args.worker:
        print(json.dumps(time_ours(args) if args.worker == "ours" else time_trl(args)))
        return
    if not args.vs_trl:
        print(json.dumps(run_worker("ours", sys.executable)))
        return
    ours, trl = [], []
    for _ in range(args.repeats):
        ours.append(run_worker("ours", sys.executable))
        trl.append(run_worker("trl", args.trl_python))
        print(f"ours {ours[-1]['cpu_seconds_per_update']}  TRL {trl[-1]['cpu_seconds_per_update']}", file=sys.stderr)
    medians = [statistics.median(run["cpu_seconds_per_update"] for run in runs) for runs in (ours, trl)]
    print(json.dumps(ours[-1] | {
        "kind": "ours and TRL 1.12", "repeats": args.repeats, "cpu_seconds_per_update": medians[0],
        "trl_cpu_seconds_per_update": medians[1], "times_as_fast": round(medians[1] / medians[0], 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
