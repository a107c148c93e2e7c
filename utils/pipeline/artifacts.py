"""The one reader of a run's files: data, models, metrics and results by name.

Stages, notebooks, experiments, chat and model cards ask `run.prompts("ppo")` or `run.model_dir("init")`, so that no other
module needs the names of files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import Config
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_rows, read_text, stored
from utils.core.runtime import choose_device, locate
from utils.data.left_out import LEFT_OUT_FILE
from utils.data.schemas import Comparison, Demonstration, Prompt
from utils.evaluation.summary import Summary
from utils.labeling import SimulatedLabeler
from utils.models.directories import model_directory
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.report.results import RunData
from utils.reward.cross_validation import RESULT, with_names_of_today
from utils.reward.scoring import RewardModel
from utils.sampling.sampler import Sampler
from utils.sft.run import checkpoint_dir, kept_epochs
from utils.training.loop import METRICS
from utils.training.setup import StageSetup
from utils.worlds.protocol import Scores, World
from utils.worlds.registry import world_of

MODELS = ("base", "sft", "init", "reward", "ppo", "ppo_ptx")
LOGGED = ("sft", "init", "reward", "ppo", "ppo_ptx")  # the stages that log metrics
POLICIES = ("base", "sft", "ppo", "ppo_ptx")  # the policies that readers compare; init is only the start of PPO
CONFIG_FILE = "config.yaml"
SOURCE_FILE = "source.json"  # of a stage that read public datasets
SELECTED = {"sft": "sft_select"}  # the stage that holds a model, where it has another name
Row = TypeVar("Row", Prompt, Demonstration, Comparison, SimulatedLabeler)


class Artifacts:
    """The files of one run. Every method raises UserError, which names the stage to run, if its file does not exist yet.

    out_dir: the run's folder, with one folder per stage. config: its settings.
    """

    out_dir: Path
    config: Config

    def path(self, stage: str) -> Path:
        """Folder of a stage."""
        return self.out_dir / stage

    @property
    def world(self) -> World | None:
        """The world that the settings name; None if all data is the user's own."""
        return world_of(self.config)

    @property
    def setup(self) -> StageSetup:
        """What the run's settings say to every training stage."""
        return StageSetup(self.config.data, self.config.seed, self.config.device, self.config.compute)

    # --- data ------------------------------------------------------------------------------------------------------

    def prompts(self, name: str) -> list[Prompt]:
        """A set of prompts: "sft", "rm", "ppo" (training), "valid" (choices) or "test" (final results)."""
        return self._rows("prompts", name, Prompt)

    def demonstrations(self, split: str) -> list[Demonstration]:
        """Demonstrations of "train" or "valid". Own data may have none of the latter: then the list is empty."""
        return self._rows("demonstrations", split, Demonstration)

    def comparisons(self, split: str) -> list[Comparison]:
        """Rankings of "train", "valid" or "test"; "test_heldout" are those of the held-out labelers for "test"."""
        return self._rows("comparisons", split, Comparison)

    def has_heldout_comparisons(self) -> bool:
        """Whether held-out labelers ranked the test prompts too (only simulated labelers do)."""
        return stored(self.path("comparisons") / "test_heldout.jsonl").exists()

    def gold_parts(self, split: str) -> list[list[Scores]]:
        """Part scores of the gold rubric for each completion of the rankings "valid" or "test"."""
        return [[tuple(parts) for parts in row] for row in self._json("comparisons", f"{split}_parts.json")]

    def labelers(self, group: str, calibrated: bool = True) -> list[SimulatedLabeler]:
        """Simulated labelers of the group "hired" or "heldout".

        calibrated: with the noise that gives the paper's agreement. Without it, or if the rankings are the user's own, they
        are as after screening.
        """
        done = calibrated and stored(self.path("comparisons") / f"{group}.jsonl").exists()
        return self._rows("comparisons" if done else "labelers", group, SimulatedLabeler)

    # --- models ----------------------------------------------------------------------------------------------------

    def model_dir(self, name: str) -> Path:
        """Directory of one of MODELS: the base as it is used, the chosen SFT checkpoint, init, the reward model, PPO's."""
        if name not in MODELS:
            raise UserError(f'{self.out_dir}: a run has no model "{name}"; it can have {", ".join(MODELS)}.')
        place = self._model_place(name)
        if not place.is_dir():
            made = [known for known in MODELS[1:] if known != name and self.has_model(known)]
            raise UserError(f'{self.out_dir}: has no model "{name}"; it has {", ".join(made) or "none yet"}.')
        return place

    def has_model(self, name: str) -> bool:
        """Whether the run has made this model (of the base: whether it is on this machine)."""
        try:
            return name in MODELS and self._model_place(name).is_dir()
        except UserError:  # the base is not here
            return False

    def _model_place(self, name: str) -> Path:
        if name == "base":  # the prepared copy if the stage made one, else the directory of the settings
            copy = self.path("base") / "model"
            return copy if copy.is_dir() else model_directory(locate(self.config.model))
        return self.checkpoint("init") if name == "init" else self.path(SELECTED.get(name, name)) / "model"

    def policy_dirs(self) -> dict[str, Path]:
        """Directories of those of POLICIES that are there."""
        return {name: self.model_dir(name) for name in POLICIES if self.has_model(name)}

    def checkpoint(self, stage: str, epoch: int | None = None) -> Path:
        """Directory of a checkpoint of the stage "sft" or "init" after `epoch` (from 1; None: the last one)."""
        return checkpoint_dir(self.path(stage), max(self.kept_epochs(stage)) if epoch is None else epoch)

    def kept_epochs(self, stage: str) -> list[int]:
        """Epochs (from 1, rising) after which the stage "sft" or "init" keeps a checkpoint."""
        return sorted(kept_epochs(getattr(self.config, stage)))

    def tokenizer(self, model: str | Path = "base") -> PreTrainedTokenizerBase:
        """Tokenizer of one of MODELS, or of a model directory."""
        return load_tokenizer(self._directory(model))

    def policy(self, model: str | Path) -> PreTrainedModel:
        """A policy of MODELS, or of a model directory, on the run's device."""
        return load_policy(self._directory(model), choose_device(self.config.device))

    def sampler(self, model: str | Path, *, prompted: bool = False, batch_size: int | None = None) -> Sampler:
        """A policy of MODELS, or of a model directory, ready to answer prompts as the run writes them.

        prompted: prompts are put into `data.prompted_template`. batch_size: prompts per batch (None: that of the evaluation).
        """
        cfg = self.config
        return Sampler.load(
            self._directory(model), cfg.data, prompted=prompted, device=choose_device(cfg.device),
            batch_size=batch_size or cfg.evaluation.batch_size,
        )  # fmt: skip

    def reward_model(self) -> RewardModel:
        """The reward model on the run's device, ready to score."""
        cfg = self.config
        return RewardModel.load(self.model_dir("reward"), cfg.data, device=choose_device(cfg.device))

    def _directory(self, model: str | Path) -> Path:
        return model if isinstance(model, Path) else self.model_dir(model)

    # --- metrics and results ---------------------------------------------------------------------------------------

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """The log of a training stage: one record per epoch, step or round."""
        return read_jsonl(self._file(stage, METRICS))

    def base_facts(self) -> dict[str, Any]:
        """Facts about the base model: its parameters, vocabulary, context (tokens, None if it has no limit) and commit."""
        return self._json("base", "base.json")

    def cleaning(self) -> list[dict[str, Any]]:
        """How many raw prompts were dropped, by reason."""
        return self._json("prompts", "cleaning.json")

    def prompt_tables(self) -> dict[str, list[dict[str, Any]]]:
        """Tables of the prompts: use_cases, sources, per_user, lengths (A.2, A.3)."""
        return self._json("prompts", "tables.json")

    def screening(self) -> list[dict[str, Any]]:
        """One row per candidate labeler with the criteria of B.1 and whether it was hired."""
        return self._json("labelers", "screening.json")

    def screening_summary(self) -> dict[str, Any]:
        """How many candidates there were, how many were hired, and how many bad ones the screening caught."""
        return self._json("labelers", "summary.json")

    def agreement(self) -> dict[str, float] | None:
        """Agreement of the labelers (3.4): {train,heldout}_{mean,se}; None if the rankings are the user's own."""
        done = (self.path("comparisons") / "agreement.json").exists()
        return self._json("comparisons", "agreement.json") if done else None

    def calibration(self) -> dict[str, Any]:
        """Calibration of the reward model on test prompts: its bins and its expected error."""
        return self._json("reward", "calibration.json")

    def reward_evaluation(self) -> dict[str, Any]:
        """Accuracies of the reward model on test prompts, and its mean reward of demonstrations."""
        return self._json("reward", "evaluation.json")

    def has_cross_validation(self) -> bool:
        """Whether the run cross-validated its reward model: there were enough labelers, and it was not switched off."""
        return self._cross_validation().exists()

    def _cross_validation(self) -> Path:
        """The results of the stage cross_validation; in an older run they are a part of the stage reward."""
        older = self.path("reward") / "cross_validation" / RESULT
        return older if older.exists() else self.path("cross_validation") / RESULT

    def cross_validation(self) -> dict[str, Any]:
        """Accuracy of reward models on rankings of training labelers and of held-out labelers (sec. 4.1)."""
        return with_names_of_today(read_json(self._cross_validation()))

    def selection(self) -> dict[str, Any]:
        """The chosen SFT checkpoint, and the mean reward and gold score of each."""
        return self._json("sft_select", "selection.json")

    def evaluation(self) -> Summary:
        """Results of the stage evaluate: a part of the summary."""
        return Summary.load(self._file("evaluate", "evaluation.json"))

    def samples(self) -> list[dict[str, Any]]:
        """Every answer of every policy to the test prompts."""
        return read_jsonl(self._file("evaluate", "samples.jsonl"))

    def best_of_n(self) -> list[dict[str, float]]:
        """Rows {n, proxy, gold, gold_se, oracle}: the best of n answers by the reward model."""
        return self._json("evaluate", "best_of_n.json")

    def left_out(self) -> list[dict[str, Any]]:
        """What the stages left out of the data: rows {what, count, reason, setting, first} with a count above 0."""
        names = ("what", "count", "reason", "setting", "first")
        files = [(stage, LEFT_OUT_FILE) for stage in ("prompts", "demonstrations", "comparisons")] + [("sft", "data.json")]
        found = [row for file in files for row in self._rows_if_there(*file)]
        return [{name: row.get(name) for name in names} for row in found if row.get("count")]

    def sources(self) -> list[dict[str, Any]]:
        """One record for each public dataset that a stage read, with the stage's name."""
        return [{"stage": file.parent.name, **read_json(file)} for file in sorted(self.out_dir.glob(f"*/{SOURCE_FILE}"))]

    def settings_text(self) -> str:
        """Text of the config.yaml of the finished run; empty if there is none."""
        files = [self.out_dir / place / CONFIG_FILE for place in ("", "report", "evaluate")]
        return next((read_text(file) for file in files if file.is_file()), "")

    def report_data(self) -> RunData:
        """What the report page shows; files that the run did not write are left out. Raises UserError for a broken file."""
        return RunData(
            name=self.out_dir.resolve().name,
            samples=self._rows_if_there("evaluate", "samples.jsonl"),
            best_of_n=self._rows_if_there("evaluate", "best_of_n.json"),
            overoptimisation=self._rows_if_there("evaluate", "overoptimisation.json", "rows"),
            calibration=self._rows_if_there("reward", "calibration.json", "bins"),
            cleaning=self._rows_if_there("prompts", "cleaning.json"),
            prompt_tables=self._if_there("prompts", "tables.json") or {},
            left_out=self.left_out(),
            sources=self.sources(),
            screening=self._rows_if_there("labelers", "screening.json"),
            metrics={stage: self._rows_if_there(stage, METRICS) for stage in LOGGED},
            selection=self._if_there("sft_select", "selection.json") or {},
            settings=self.settings_text(),
        )

    def summary(self) -> Summary:
        """All results of the finished run (summary.json)."""
        place = self.out_dir / "summary.json"
        if not place.exists():
            raise UserError(f"{self.out_dir}: has no summary.json: finish the run with scripts/evaluate.py first.")
        return Summary.load(place)

    # --- files -----------------------------------------------------------------------------------------------------

    def _file(self, stage: str, name: str) -> Path:
        """A file of a stage, or its gzipped form."""
        file = stored(self.path(stage) / name)
        if not file.exists():
            raise UserError(f'{self.out_dir}: has no {stage}/{name}: run the stage "{stage}" first.')
        return file

    def _if_there(self, stage: str, name: str) -> Any:
        """Content of a JSON or JSONL file of a stage; None if it does not exist or is empty."""
        file = stored(self.path(stage) / name)
        if not file.is_file() or file.stat().st_size == 0:
            return None
        return read_jsonl(file) if name.endswith(".jsonl") else read_json(file)

    def _rows_if_there(self, stage: str, name: str, key: str = "") -> list[dict[str, Any]]:
        """Rows of a file of a stage, none if it does not exist. key: where they are in the file's object."""
        found = self._if_there(stage, name)
        return (found.get(key, []) if isinstance(found, dict) else found) or []

    def _json(self, stage: str, name: str) -> Any:
        return read_json(self._file(stage, name))

    def _rows(self, stage: str, name: str, kind: type[Row]) -> list[Row]:
        """Rows of a table; a split that own data does not have is an empty file."""
        file = self._file(stage, f"{name}.jsonl")
        return read_rows(file, kind) if file.stat().st_size else []
