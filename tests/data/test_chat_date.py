"""A chat template that asks for the time: one date for the whole run, whatever the day."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tiny_run import make_base

from utils.config import DataConfig, load_config
from utils.core.errors import UserError
from utils.core.io import read_json
from utils.data.chat import asks_for_date, dated
from utils.data.encoding import encode_prompt
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.base import base_stage
from utils.pipeline.run import Run

TEMPLATE = "{{ strftime_now('%d %b %Y %H:%M:%S.%f') }} {% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_base(tmp_path_factory.mktemp("dated") / "base")
    tokenizer = load_tokenizer(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    return path


def test_prompts_do_not_depend_on_the_clock(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    first = encode_prompt(tokenizer, "Hi.", DataConfig())
    time.sleep(0.01)
    assert encode_prompt(tokenizer, "Hi.", DataConfig()) == first
    for date, written in (("2025-01-01", "01 Jan 2025"), ("2024-02-29", "29 Feb 2024")):
        expected = tokenizer(f"{written} 00:00:00.000000 Hi.", add_special_tokens=False)["input_ids"]
        assert encode_prompt(tokenizer, "Hi.", DataConfig(template_date=date)) == expected


def test_the_date_is_said_and_noted_in_the_run(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config("tiny", {"model": str(base), "data.template_date": "2024-02-29"})
    base_stage(Run(tmp_path, config), tmp_path / "base")
    assert "asks for the date: all prompts of this run get 2024-02-29 (data.template_date)" in capsys.readouterr().out
    assert read_json(tmp_path / "base" / "base.json")["template_date"] == "2024-02-29"


def test_every_form_of_the_question_gets_the_date() -> None:
    assert dated('{{ strftime_now("%d %b %Y") }}', "2024-02-29") == "{{ '29 Feb 2024' }}"
    assert dated("{{ strftime_now(form) }}", "2024-02-29").startswith("{% macro strftime_now(form) %}2024-02-29")
    assert dated("{{ strftime_now is defined }}", "2024-02-29") == "{{ strftime_now is defined }}"
    assert dated("no clock", "2024-02-29") == "no clock"


def test_only_a_template_that_asks_gets_a_date(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    assert asks_for_date(tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    assert not asks_for_date(tokenizer)


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match='setting "data.template_date": "today" is no date; write it as 2025-01-31'):
        load_config("tiny", {"data.template_date": "today"})
