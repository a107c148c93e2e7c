"""Exports: plain transformers reads them and finds the same numbers; cards say what is so; nothing is uploaded unasked."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import make_family
from test_scripts import load_script
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from utils.config import Config, load_config
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import digest_path, read_json, write_json
from utils.core.runtime import ROOT
from utils.data.encoding import encode_completion, encode_prompt, pad_left, pad_right
from utils.evaluation.summary import Summary
from utils.lessons.shipped_run import shipped
from utils.models.loading import load_base, load_policy, load_reward, reward_from_policy, save_model
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.run import Run, settings_of
from utils.publish import model_cards
from utils.publish.model_cards import data_lines, export, given_licence, is_simulated, metrics, push
from utils.reward.scoring import reward_at_end
from utils.sampling.rollout import response_logprobs
from utils.sampling.sampler import Sampler

PROMPTS = ("Name three birds.", "What is a bat?", "Where does the whale live, and what does it eat?")
ANSWERS = ("Owl, hen, goose.", "A bat is a mammal.", "I do not know.")
NAMES = ["sft", "init", "ppo", "ppo_ptx", "reward"]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models of the shipped run, exported."""
    out = tmp_path_factory.mktemp("exports")
    assert export(shipped(), NAMES, out) == [out / name for name in NAMES]
    return out


def encoded(folder: Path, config: Config) -> tuple[list[list[int]], list[list[int]]]:
    tokenizer = load_tokenizer(folder)
    prompts = [encode_prompt(tokenizer, p, config.data) for p in PROMPTS]
    return prompts, [encode_completion(tokenizer, a, True, config.data) for a in ANSWERS]


def snippet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the card's code leaves behind when it is run in the folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert code
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec(code[1], found)  # noqa: S102 -- the code is our own card's
    return found


@pytest.mark.parametrize("name", NAMES[:4])
def test_plain_transformers_gives_the_same_log_probs(name: str, exports: Path) -> None:
    run = shipped()
    prompts, responses = encoded(exports / name, run.config)
    here = response_logprobs(load_policy(run.model_dir(name)), *pad_left(prompts, 1), *pad_right(responses, 1))
    plain, loaded = AutoModelForCausalLM.from_pretrained(exports / name, output_loading_info=True)
    assert not any(loaded.values()) and plain.dtype == torch.float32
    for i, (p, r) in enumerate(zip(prompts, responses, strict=True)):
        logits = plain(torch.tensor([p + r])).logits[0, len(p) - 1 : -1].log_softmax(-1)
        there = logits.gather(1, torch.tensor(r)[:, None])[:, 0]
        torch.testing.assert_close(there, here[i, : len(r)], atol=1e-5, rtol=1e-5)


def test_plain_transformers_gives_the_same_reward_after_the_shift_of_its_config(exports: Path) -> None:
    run = shipped()
    prompts, responses = encoded(exports / "reward", run.config)
    sequences = [p + r for p, r in zip(prompts, responses, strict=True)]
    here = reward_at_end(load_reward(run.model_dir("reward")), sequences)
    plain, loaded = AutoModelForSequenceClassification.from_pretrained(exports / "reward", output_loading_info=True)
    ids, mask = pad_right(sequences, plain.config.pad_token_id)
    logits = plain(input_ids=ids, attention_mask=mask.long()).logits.squeeze(1)
    assert not any(loaded.values()) and abs(plain.config.reward_shift) > 0.01, "a shift that a test would see"
    torch.testing.assert_close(logits - plain.config.reward_shift, here, atol=1e-5, rtol=1e-5)


def test_plain_generate_says_greedily_what_the_sampler_says(exports: Path) -> None:
    run = shipped()
    sampler = Sampler.load(run.model_dir("ppo_ptx"), run.config.data)
    said = sampler(PROMPTS, seed=1, names=PROMPTS, temperature=0)
    plain, tokenizer = (
        AutoModelForCausalLM.from_pretrained(exports / "ppo_ptx"),
        AutoTokenizer.from_pretrained(exports / "ppo_ptx"),
    )
    ids, mask = pad_left([sampler.encode(p) for p in PROMPTS], tokenizer.pad_token_id)
    made = plain.generate(input_ids=ids, attention_mask=mask.long(), do_sample=False)[:, ids.shape[1] :]
    assert [text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)] == [r.text for r in said]
    settings = plain.generation_config
    assert settings.do_sample and settings.top_k == 0 and settings.temperature == run.config.evaluation.temperature
    assert settings.eos_token_id == [tokenizer.eos_token_id, tokenizer.bos_token_id]


def test_the_code_of_the_cards_runs(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shipped()
    torch.manual_seed(0)
    assert snippet(exports / "ppo", monkeypatch)["answer"]
    prompts, responses = encoded(exports / "reward", run.config)
    there = snippet(exports / "reward", monkeypatch)["reward"]
    assert there == pytest.approx(
        float(reward_at_end(load_reward(exports / "reward"), [prompts[0] + responses[0]])[0].detach()), abs=1e-5
    )


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_cards_write_prompts_as_the_run_does_in_a_template_and_after_a_first_token(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, model = load_base(make_family(family, tmp_path / "base"))
    save_model(model, tokenizer, tmp_path / "run" / "ppo" / "model")
    reward = reward_from_policy(tmp_path / "run" / "ppo" / "model", seed=1)
    reward.score.weight.data.mul_(30.0)
    reward.config.reward_shift = -1.5
    save_model(reward, tokenizer, tmp_path / "run" / "reward" / "model")
    write_json(tmp_path / "run" / "summary.json", {})
    config = replace(load_config("gpt2"), model=str(tmp_path / "base"))
    ppo, judge = export(Run(tmp_path / "run", config), ["ppo", "reward"], tmp_path / "out")
    prompts, responses = encoded(ppo, config)
    assert snippet(ppo, monkeypatch)["ids"] == prompts[0]
    found = snippet(judge, monkeypatch)
    assert found["ids"] == prompts[0] + responses[0]
    assert found["reward"] == pytest.approx(float(reward_at_end(load_reward(judge), [found["ids"]])[0].detach()), abs=1e-4)


def test_cards_say_what_was_simulated_and_hold_the_run_s_figures(exports: Path) -> None:
    summary = read_json(shipped().out_dir / "summary.json")
    for name in NAMES:
        text = (exports / name / "README.md").read_text()
        front = yaml.safe_load(text.split("---")[1])
        assert front["license"] == "apache-2.0" and "simulated" in front["tags"] and front["library_name"] == "transformers"
        assert "**All data of this model are simulated.**" in text and "{" not in text
        assert (exports / name / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    ppo = (exports / "ppo" / "README.md").read_text()
    assert f"{summary['gold.ppo.mean']:.3f} ± {summary['gold.ppo.se']:.3f}" in ppo and f"{summary['kl.ppo']:.3f}" in ppo
    assert f"{summary['winrate.ppo_vs_sft.mean']:.3f} (95 % interval" in ppo
    assert f"{summary['reward_model.accuracy_labels']:.3f}" in (exports / "reward" / "README.md").read_text()
    assert metrics(Summary(), "ppo") == [] == metrics(Summary(), "reward")


def test_settings_come_along_without_places_of_this_disk(exports: Path, tmp_path: Path) -> None:
    assert settings_of(exports / "ppo").data == shipped().config.data
    config = load_config("tiny", {"data.prompts": str(tmp_path / "mine.jsonl"), "model": "owner/name"})
    shown = model_cards.without_places(config)
    assert shown.data.prompts == "mine.jsonl" and shown.model == "owner/name" and str(tmp_path) not in str(shown)
    local = model_cards.without_places(replace(config, data=replace(config.data, prompts=f"hub:oasst2={tmp_path / 'x.jsonl'}")))
    assert local.data.prompts == "hub:oasst2=x.jsonl"


def test_a_run_on_human_data_names_its_sources_and_states_no_licence_by_itself(tmp_path: Path) -> None:
    config = load_config("gpt2", {"data.demonstrations": str(tmp_path / "secret" / "demos.jsonl")})
    told = "\n".join(data_lines(config))
    assert "public dataset oasst2; licence" in told and "own file demos.jsonl" in told and "secret" not in told
    assert not is_simulated(config) and is_simulated(load_config("tiny"))
    licence = model_cards.default_licence(config)
    assert licence.name == "other" and "demos.jsonl" in licence.text and "openai-community/gpt2" in licence.text
    front = yaml.safe_load("\n".join(model_cards._front(config, "ppo", licence)))
    assert front["license_name"] == "not-stated" and front["base_model"] == "openai-community/gpt2"
    assert "OpenAssistant/oasst2" in front["datasets"] and "simulated" not in front["tags"]


def test_the_licence_of_a_local_base_is_read_from_its_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\nA model.\n")
    assert model_cards.base_line(replace(Config(), model=str(tmp_path))).endswith("licence mit (its card)")


def test_a_stated_licence_needs_its_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--license mit: also give its text"):
        given_licence("mit", None)
    (tmp_path / "MIT").write_text("Permission is hereby granted")
    assert given_licence("mit", tmp_path / "MIT").text == "Permission is hereby granted"


def test_refusals_come_before_anything_is_written(tmp_path: Path) -> None:
    run, out = shipped(), tmp_path / "out"
    with pytest.raises(UserError, match='no model "largest" to export: name one of sft, init, ppo, ppo_ptx, reward'):
        export(run, ["ppo", "largest"], out)
    with pytest.raises(UserError, match="has no summary.json: finish the run"):
        export(Run(tmp_path, run.config), ["ppo"], out)
    (out / "reward").mkdir(parents=True)
    (out / "reward" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds files that were not written by an export"):
        export(run, ["ppo", "reward"], out)
    assert not (out / "ppo").exists() and (out / "reward" / "mine.txt").read_text() == "keep"


# --- command line and hub -------------------------------------------------------------------------------------------


class Api:
    """Stands for huggingface_hub.HfApi and notes what it was asked."""

    calls: list[tuple[str, Any]] = []
    problem: Exception | None = None

    def create_repo(self, repo: str, **given: Any) -> str:
        if self.problem:
            raise self.problem
        self.calls.append((repo, given["private"]))
        return f"https://hub/{repo}"

    def upload_folder(self, **given: Any) -> None:
        self.calls.append((given["repo_id"], sorted(file.name for file in Path(given["folder_path"]).iterdir())))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    monkeypatch.setattr(model_cards, "HfApi", Api)
    monkeypatch.setattr(model_cards, "hub_is_reachable", lambda: True)
    monkeypatch.setattr(Api, "calls", [])
    monkeypatch.setattr(Api, "problem", None)
    return Api


def test_the_script_uploads_only_when_asked_and_then_privately(
    api: type[Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("export", monkeypatch)
    given = ["--run", str(ROOT / "data" / "lessons"), "--models", "ppo, reward", "--out", str(tmp_path / "out")]
    assert main(script.run, given) == 0 and api.calls == []
    before = digest_path(tmp_path / "out")
    assert main(script.run, [*given, "--push-to-hub", "me/tiny"]) == 0
    assert digest_path(tmp_path / "out") == before, "an export again is the same"
    assert [call for call in api.calls if call[1] is True] == [("me/tiny-ppo", True), ("me/tiny-reward", True)]
    assert "model.safetensors" in api.calls[1][1] and "README.md" in api.calls[1][1]
    assert capsys.readouterr().out.splitlines()[-1] == "https://hub/me/tiny-reward: pushed"


def test_pushing_without_a_network_is_one_sentence(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cards, "hub_is_reachable", lambda: False)
    with pytest.raises(UserError, match="me/x: not pushed, as the Hugging Face hub cannot be reached .* `hf upload me/x"):
        push(exports / "ppo", "me/x")


def test_what_the_hub_refuses_is_one_sentence(api: type[Api], exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "problem", model_cards.LocalTokenNotFoundError("no token"))
    with pytest.raises(UserError, match="needs an account; run `hf auth login`"):
        push(exports / "ppo", "me/x")
    monkeypatch.setattr(Api, "problem", ConnectionError("cut\noff"))
    with pytest.raises(UserError, match=r"rejected the export \(cut off\)"):
        push(exports / "ppo", "me/x")


def test_weights_without_a_stated_licence_are_not_pushed(api: type[Api], exports: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ppo"
    shutil.copytree(exports / "ppo", folder)
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0", "license: other\nlicense_name: not-stated"))
    with pytest.raises(UserError, match="states no licence, so it is not pushed"):
        push(folder, "me/x")
    assert api.calls == []
