"""Language models: JSON repaired and checked or refused, quotations verified, an endpoint that fails in every way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from feedback.cases import feedback, points_of

from utils.core import UserError
from utils.feedback import (
    Endpoint,
    LanguageModel,
    Pair,
    PromptExtractor,
    PromptMatcher,
    Refused,
    checked_json,
    generate_feedback,
)
from utils.feedback.backends import schema_problem
from utils.feedback.prompted import EXTRACTION_SCHEMA, MATCHING_SCHEMA

ROW = feedback("d", "p", "Nice work. The data is too small. Why no baseline?")
GOOD = {
    "1": {"summary": "no baseline", "verbatim": "Why no baseline?"},
    "2": {"summary": "little data", "verbatim": "The data is too small."},
}


class Script:
    """A backend that gives prepared answers, one after the other."""

    name = "script"

    def __init__(self, *answers: str) -> None:
        self.answers, self.prompts = list(answers), []  # type: ignore[var-annotated]

    def complete(self, prompt: str, schema: dict[str, Any] | None = None) -> str:
        self.prompts.append(prompt)
        return self.answers.pop(0)

    def first_tokens(self, text: str, count: int) -> str:
        """A token is a word."""
        return " ".join(text.split(" ")[:count])


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"Here it is:\n```json\n{json.dumps(GOOD, indent=1)}\n```",
        json.dumps(GOOD).replace('"}}', '"},}'),
        json.dumps(GOOD)[:-1],
    ],
)
def test_broken_json_is_repaired(text: str) -> None:
    assert checked_json(text, EXTRACTION_SCHEMA) == GOOD


@pytest.mark.parametrize(
    ("text", "schema", "reason"),
    [
        ("I like it.", EXTRACTION_SCHEMA, "no JSON"),
        ("[1, 2]", EXTRACTION_SCHEMA, "expected object, found"),
        ('{"1": {"summary": "x"}}', EXTRACTION_SCHEMA, '1: "verbatim" is missing'),
        ('{"1": {"summary": "x", "verbatim": " "}}', EXTRACTION_SCHEMA, "1: verbatim: an empty text"),
        ('{"1": "x"}', EXTRACTION_SCHEMA, "1: expected object"),
        ('{"A1-B1": {"rationale": "x", "similarity": 12}}', MATCHING_SCHEMA, "similarity: 12 is not from 5 to 10"),
        ('{"A1-B1": {"rationale": "x", "similarity": "high"}}', MATCHING_SCHEMA, "expected integer"),
        ('{"A1-B1": {"rationale": "x", "similarity": true}}', MATCHING_SCHEMA, "expected integer"),
    ],
)
def test_what_does_not_follow_the_schema_is_refused(text: str, schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        checked_json(text, schema)


def test_points_are_those_whose_words_are_in_the_text_in_its_order() -> None:
    invented = GOOD | {"3": {"summary": "ethics", "verbatim": "Ethics are never discussed here."}}
    told: list[str] = []
    found = PromptExtractor(Script(json.dumps(invented)), told.append).extract([ROW])
    assert [(p.point, p.verbatim, p.summary) for p in found] == [
        (1, "The data is too small.", "little data"), (2, "Why no baseline?", "no baseline")
    ]  # fmt: skip
    assert all(ROW.text[slice(*p.spans[0])] == p.verbatim for p in found)
    assert told == ['p on d: point 3 is left out, because its words "Ethics are never discussed here." are not in the text.']


def test_nonsense_is_asked_again_and_then_an_error() -> None:
    assert len(PromptExtractor(Script("no", json.dumps(GOOD))).extract([ROW])) == 2
    with pytest.raises(UserError, match="script could not extract the points of p on d: the answer holds no JSON; nothing was"):
        PromptExtractor(Script("no", "no")).extract([ROW])
    assert PromptExtractor(Script("{}")).extract([ROW]) == []


def test_matches_by_a_model() -> None:
    other = feedback("d", "q", "Too little data. It needs a baseline.")
    points = [*points_of(ROW, "The data is too small.", "Why no baseline?"), *points_of(other, "Too little data.")]
    answer = {
        "A1-B1": {"rationale": "both data", "similarity": 8}, "A2-B1": {"rationale": "no", "similarity": 6},
        "A7-B1": {"rationale": "?", "similarity": 9}, "what": {"rationale": "?", "similarity": 9},
    }  # fmt: skip
    told: list[str] = []
    backend = Script(json.dumps(answer))
    found = PromptMatcher(backend, told.append).match([ROW, other], points, [Pair(0, 1, "real")])
    assert [(m.a_point, m.b_point, m.similarity, m.kept, m.rationale) for m in found] == [
        (1, 1, 8, True, "both data"), (2, 1, 6, False, "no")
    ]  # fmt: skip
    assert len(told) == 2 and '"A1"' in backend.prompts[0] and '"B1"' in backend.prompts[0]
    assert PromptMatcher(Script()).match([ROW, other], points[:2], [Pair(0, 1, "real")]) == [], "nothing to ask"


def test_the_generator_reads_the_first_part_only() -> None:
    backend = Script("1. Significance ...", "  ")
    made = generate_feedback(backend, feedback("d", "generator", "A title\nA text. " + "x " * 500, title=""), 40)
    assert made.source == "model" and made.reviewer == "script" and made.title == "A title"
    assert "A title" in backend.prompts[0] and backend.prompts[0].count(" x") == 37
    with pytest.raises(UserError, match="wrote nothing about d"):
        generate_feedback(backend, feedback("d", "generator", "text"), 40)


# --- a server --------------------------------------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    """Answers according to the name of the model that is asked for."""

    seen: list[dict[str, Any]] = []
    keys: list[str | None] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        self.keys.append(self.headers.get("Authorization"))
        kind = body["model"]
        if kind == "slow":
            time.sleep(0.5)
        if kind.isdigit():
            self.send_error(int(kind))
            return
        found = {"good": json.dumps(GOOD), "nonsense": "Sorry!", "slow": "{}", "null": None}.get(kind, "")
        answer = {"choices": [{"message": {"content": found}}]} if kind != "other" else {"reply": "hello"}
        content = json.dumps(answer).encode() if kind != "html" else b"<html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_an_endpoint_answers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = PromptExtractor(Endpoint(url, "good")).extract([ROW])
    assert len(found) == 2 and found[0].extractor == "prompt 1, good"
    assert Server.seen[-1]["response_format"]["json_schema"]["schema"] == EXTRACTION_SCHEMA
    assert Server.seen[-1]["temperature"] == 0 and Server.keys[-1] == "Bearer secret"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nonsense", "could not extract the points of p on d: the answer holds no JSON"),
        ("other", "did not answer in the form of an OpenAI-compatible server"),
        ("html", "did not answer in the form of an OpenAI-compatible server"),
        ("401", "HTTP 401"),
        ("500", "HTTP 500"),
        ("slow", "no answer in 0.2 seconds"),
    ],
)
def test_an_endpoint_that_fails_is_named_in_one_sentence(url: str, model: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        PromptExtractor(Endpoint(url, model, seconds=0.2)).extract([ROW])
    assert "\n" not in str(error.value)


def test_an_address_where_nobody_answers() -> None:
    with pytest.raises(UserError, match="does not answer"):
        Endpoint("http://127.0.0.1:9/v1", "m", seconds=1).complete("x")
    for address in ("nonsense", "file:///etc/hosts", "localhost:8000"):
        with pytest.raises(UserError, match="is no web address: give one such as"):
            Endpoint(address, "m")


def test_an_answer_without_content_is_no_feedback(url: str) -> None:
    with pytest.raises(UserError, match="null wrote nothing about d"):
        generate_feedback(Endpoint(url, "null"), feedback("d", "generator", "text"), 40)


# --- a model in this process -----------------------------------------------------------------------------------------


def tiny_model(positions: int = 700) -> LanguageModel:
    """A random model of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({"<end>": 0} | {letter: i for i, letter in enumerate(letters, 1)}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>")
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": positions, "vocab_size": 257}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)).eval()
    return LanguageModel(model, tokenizer, max_tokens=60, constrained=False)


def test_the_first_tokens_are_counted_by_the_models_tokenizer() -> None:
    model, text = tiny_model(), "의사는 the needle."
    ids = model.tokenizer.encode(text)
    assert len(ids) > len(text), "a token is a byte here"
    for count in (3, 9, 12):
        assert model.tokenizer.encode(model.first_tokens(text, count)) == ids[:count]
    assert model.first_tokens(text, len(ids)) == model.first_tokens(text, 10**6) == text
    assert Endpoint("http://a", "m").first_tokens("abcdefghij", 2) == "abcdefgh"


def test_a_model_in_this_process_is_asked_and_its_noise_refused() -> None:
    model = tiny_model(positions=2000)
    assert isinstance(model.complete("Say"), str)
    with pytest.raises(UserError, match="could not extract"):
        PromptExtractor(model, tries=1).extract([ROW])


def test_a_prompt_that_is_too_long_is_said() -> None:
    with pytest.raises(UserError, match="use a model with a longer context"):
        PromptExtractor(tiny_model(positions=100)).extract([ROW])


def noisy_model(seed: int, max_tokens: int) -> LanguageModel:
    """The tiny model with random logits at every step, and a preference for quotes and braces, so that its JSON ends."""
    import torch

    plain = tiny_model(positions=2000)
    generator = torch.Generator().manual_seed(seed)
    structural = plain.tokenizer.convert_tokens_to_ids(['"', "}", "{"])

    def noise(module: Any, given: Any, output: Any) -> Any:
        output.logits = torch.randn(output.logits.shape, generator=generator)
        output.logits[..., structural] += 2.5
        return output

    plain.model.register_forward_hook(noise)
    return LanguageModel(plain.model, plain.tokenizer, max_tokens=max_tokens)


@pytest.mark.parametrize("schema", [EXTRACTION_SCHEMA, MATCHING_SCHEMA], ids=["extraction", "matching"])
def test_constrained_decoding_always_parses_and_follows_the_schema(schema: dict[str, Any]) -> None:
    pytest.importorskip("xgrammar", reason="the optional extra `constrained` is not installed")
    entries = 0
    for seed in range(2):
        model = noisy_model(seed, max_tokens=300)
        found = json.loads(model.complete("x", schema))  # no repair
        assert schema_problem(found, schema) is None
        entries += len(found)
    assert entries > 0
    assert "{" not in noisy_model(0, 50).complete("x")[:1], "without the schema the same model writes no JSON"


def test_a_cut_answer_keeps_its_complete_entries() -> None:
    told: list[str] = []
    model = tiny_model()
    model.tell = told.append
    whole = json.dumps(GOOD)
    assert model._complete_entries(whole, 60) == whole and told == []
    assert json.loads(model._complete_entries(whole[:-30], 60)) == {"1": GOOD["1"]}
    assert "was cut at 60 tokens; its 1 complete entries are used" in told[0]
    with pytest.raises(Refused, match="cut at 60 tokens before its first entry"):
        model._complete_entries(whole[:30], 60)
