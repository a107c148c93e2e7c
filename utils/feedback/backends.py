"""Language models that answer with JSON of a given form: one in this process, or one behind an OpenAI-compatible address.

`complete_checked` is what the stages call: it repairs the JSON (json-repair), checks it against the schema, and refuses it
with the reason. Repair alone is not enough: it turns text without JSON into "" and drops half-finished entries.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from utils.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Schema = dict[str, Any]
TRIES = 2  # an endpoint that does not answer is asked once more
CHARACTERS_PER_TOKEN = 4  # of English text, where the tokenizer is not known


class Refused(ValueError):
    """An answer that is not what was asked for; the text says why."""


class Backend(Protocol):
    """Answers a prompt with text. name: what is written into points and matches."""

    name: str

    def complete(self, prompt: str, schema: Schema | None = None) -> str:
        """The answer's text. schema: the JSON Schema that the answer is asked (or forced) to follow. Raises UserError if
        there is no answer at all."""
        ...

    def first_tokens(self, text: str, count: int) -> str:
        """The text cut after its first `count` tokens."""
        ...


def complete_checked(backend: Backend, prompt: str, schema: Schema) -> Any:
    """The answer as JSON that follows the schema. Raises Refused with the reason if it does not, even after repair."""
    return checked_json(backend.complete(prompt, schema), schema)


def checked_json(text: str, schema: Schema) -> Any:
    """The JSON value in a text, repaired and checked. Raises Refused."""
    found = _parsed(text)
    if found in ("", None):
        raise Refused("the answer holds no JSON")
    problem = schema_problem(found, schema)
    if problem:
        raise Refused(problem)
    return found


def _parsed(text: str) -> Any:
    """The JSON value of a text; repaired if it is broken."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        from json_repair import repair_json
    except ImportError:
        raise UserError("Answers of language models need json-repair: run pip install json-repair.") from None
    return repair_json(text, return_objects=True)


def schema_problem(value: Any, schema: Schema) -> str | None:
    """What is wrong with a value under a schema of `prompted`, in words; None if nothing is.

    Knows type (object, array, string, integer, number), properties, required, additionalProperties, items, minimum, maximum,
    minLength.
    """
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or isinstance(value, bool)):
        return f"expected {kind}, found {json.dumps(value, ensure_ascii=False)[:60]}"
    if isinstance(value, dict):
        lost = [name for name in schema.get("required", ()) if name not in value]
        if lost:
            return f'"{lost[0]}" is missing in {json.dumps(value, ensure_ascii=False)[:60]}'
        known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        parts = [(name, part, known.get(name, other)) for name, part in value.items()]
        found = next(((n, said) for n, part, s in parts if isinstance(s, dict) and (said := schema_problem(part, s))), None)
        return f"{found[0]}: {found[1]}" if found else None
    if isinstance(value, list):
        return next((said for part in value if (said := schema_problem(part, schema.get("items", {})))), None)
    if isinstance(value, str) and len(value.strip()) < schema.get("minLength", 0):
        return "an empty text"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{value} is not from {schema.get('minimum')} to {schema.get('maximum')}"
    return None


# --- a model in this process -----------------------------------------------------------------------------------------


class LanguageModel:
    """A causal language model of transformers, greedy. With xgrammar (optional) its answers always follow the schema's grammar.

    model, tokenizer: loaded, on any device. max_tokens: of an answer. constrained: force the schema; needs xgrammar. An answer
    that the limit cuts keeps its complete entries and is told; without one it is refused.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int = 1024,
        constrained: bool = True,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model, self.tokenizer, self.max_tokens, self.tell = model, tokenizer, max_tokens, tell
        self.name = str(getattr(model.config, "_name_or_path", "") or "language model")
        self._compiler = self._grammar_compiler() if constrained else None

    def _grammar_compiler(self) -> Any:
        try:
            import xgrammar
        except ImportError:
            raise UserError(
                'JSON-constrained decoding needs xgrammar: run pip install -e ".[constrained]", or use --unconstrained '
                "(JSON is then repaired and checked)."
            ) from None
        size = int(self.model.config.get_text_config().vocab_size)
        return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(self.tokenizer, vocab_size=size))

    def complete(self, prompt: str, schema: Schema | None = None) -> str:
        """As in `Backend`. Raises UserError if the prompt leaves no room for an answer, Refused for a cut one without an
        entry."""
        import torch

        ids = torch.tensor([self._encoded(prompt)], device=self.model.device)
        limit = getattr(self.model.config, "max_position_embeddings", None) or ids.shape[1] + self.max_tokens
        room = min(self.max_tokens, int(limit) - ids.shape[1])
        if room < 1:
            raise UserError(
                f"The prompt has {ids.shape[1]} tokens, and {self.name} reads {limit}: use a model with a longer context or "
                "shorter texts."
            )
        named: dict[str, Any] = {}
        if schema is not None and self._compiler is not None:
            from xgrammar.contrib.hf import LogitsProcessor

            grammar = self._compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
            named["logits_processor"] = [LogitsProcessor(grammar)]  # one per call: it keeps the state of one answer
        with torch.no_grad():
            model: Any = self.model  # transformers' stubs do not know `generate`
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=room, do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id, **named,
            )  # fmt: skip
        text = str(self.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))
        return self._complete_entries(text, room) if named else text

    def _complete_entries(self, text: str, room: int) -> str:
        """A constrained answer as JSON; if the limit cut it, its complete entries. Raises Refused if there is none.

        strict=False: xgrammar's strings may hold control characters as they are, which JSON writes as escapes.
        """
        try:
            return json.dumps(json.loads(text, strict=False), ensure_ascii=False)
        except ValueError:
            pass
        for end in (i for i in range(len(text) - 1, 0, -1) if text[i] == "}"):
            try:
                entries = json.loads(text[: end + 1] + "}", strict=False)
            except ValueError:
                continue
            self.tell(f"{self.name}: the answer was cut at {room} tokens; its {len(entries)} complete entries are used.")
            return json.dumps(entries, ensure_ascii=False)
        raise Refused(f"the answer was cut at {room} tokens before its first entry was complete")

    def _encoded(self, prompt: str) -> list[int]:
        """Ids of the prompt, in the chat template if the tokenizer has one."""
        if getattr(self.tokenizer, "chat_template", None):
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer.encode(str(text), add_special_tokens=False))
        return list(self.tokenizer.encode(prompt))

    def first_tokens(self, text: str, count: int) -> str:
        """As in `Backend`, by the model's own tokenizer."""
        ends = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(ends) <= count else text[: ends[count - 1][1]]


# --- a model behind an address ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible address, such as http://localhost:8000/v1. The key, if one is needed, is in the environment variable
    `key_variable`; it is never written anywhere. seconds: to wait for one answer. Raises UserError for another address."""

    url: str
    model: str
    seconds: float = 120.0
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError(f'The endpoint "{self.url}" is no web address: give one such as http://localhost:8000/v1.')

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    def complete(self, prompt: str, schema: Schema | None = None) -> str:
        """As in `Backend`. Raises UserError for an HTTP error, no answer in time, or an answer of another form."""
        body: dict[str, Any] = {
            "model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0,
            "max_tokens": self.max_tokens,
        }  # fmt: skip
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        found = self._post(json.dumps(body).encode())
        try:
            content = json.loads(found)["choices"][0]["message"]["content"]
            return "" if content is None else str(content)  # null: a refusal, or an answer that is a call of a tool
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(
                f"{self.url} did not answer in the form of an OpenAI-compatible server: check the address."
            ) from None

    def first_tokens(self, text: str, count: int) -> str:
        """As in `Backend`, at four characters per token, because the server's tokenizer is not here."""
        return text[: count * CHARACTERS_PER_TOKEN]

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        reason = ""
        for _ in range(TRIES):
            try:
                request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", data=body, headers=headers)
                with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}"
                if error.code < 500 and error.code != 429:
                    break
            except TimeoutError:
                reason = f"no answer in {self.seconds:g} seconds"
            except (OSError, ValueError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(
            f"{self.url} does not answer ({reason}): check that the server runs, the address, the model and the key."
        )
