"""Rankings in the forms of other tools: TRL's pairs, Label Studio's Ranker, Potato's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from utils.core.errors import UserError
from utils.data.schemas import Comparison
from utils.labeling.store.rows import grouped, same_item


def preference_pairs(rows: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """Rows with prompt, chosen and rejected, as TRL's trainers read them: every pair that a ranking orders (Eq. 1)."""
    for row in rows:
        for i in range(len(row.ranks)):
            for j in range(len(row.ranks)):
                if row.ranks[i] < row.ranks[j]:
                    more = {"prompt_id": row.prompt_id, "labeler_id": row.labeler_id, "split": row.split}
                    yield {"prompt": row.prompt, "chosen": row.completions[i], "rejected": row.completions[j]} | more


def to_label_studio(rows: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Tasks of Label Studio with a List and a Ranker: an item per output, a bucket "1", "2", ... per rank.

    Rows of one prompt with the same outputs become one task with an annotation per labeler.
    """
    tasks = []
    for group in grouped([(same_item(row), row.labeler_id) for row in rows]):
        first = rows[group[0]]
        shown = [{"id": str(k), "title": "", "body": text} for k, text in enumerate(first.completions)]
        data: dict[str, Any] = {"prompt": first.prompt, "items": shown}
        data |= {name: getattr(first, name) for name in ("prompt_id", "use_case", "split")}
        data |= {name: list(getattr(first, name)) for name in ("finished", "policies") if getattr(first, name)}
        tasks.append({"data": data, "annotations": [_annotation(rows[number]) for number in group]})
    return tasks


def _annotation(row: Comparison) -> dict[str, Any]:
    buckets: dict[str, list[str]] = {}
    for k, rank in enumerate(row.ranks):
        buckets.setdefault(str(rank), []).append(str(k))
    ordered = {name: buckets[name] for name in sorted(buckets, key=int)}
    result = {"from_name": "rank", "to_name": "outputs", "type": "ranker", "value": {"ranker": ordered}}
    more = {name: list(getattr(row, name)) for name in ("ratings", "flags") if getattr(row, name)}
    return {"completed_by": row.labeler_id, "was_cancelled": False, "result": [result]} | ({"meta": more} if more else {})


def from_label_studio(tasks: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Comparisons of Label Studio's export of Ranker tasks: outputs of one bucket tie, buckets are in their order.

    Buckets with numbers as names (rank 1 first) are ordered by number, others by their order in the file; without buckets the
    list itself is the ranking. Cancelled annotations are left out. Raises UserError naming the task and the field.
    """
    rows = []
    for number, task in enumerate(tasks, 1):
        where = f"task {number}"
        data = task.get("data")
        shown = data.get("items") if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(shown, list) or not isinstance(data.get("prompt"), str):
            raise UserError(f'{where}: "data" needs a text "prompt" and a list "items".')
        try:
            texts = {str(one["id"]): str(one.get("body") or one.get("html") or one.get("title") or "") for one in shown}
        except (TypeError, KeyError, AttributeError):
            raise UserError(f'{where}: each of "items" needs an "id" and a "body".') from None
        for note in task.get("annotations") or ():
            if not note.get("was_cancelled"):
                rows.append(_from_annotation(data, texts, note, where))
    return rows


def _from_annotation(data: Mapping[str, Any], texts: Mapping[str, str], note: Mapping[str, Any], where: str) -> Comparison:
    rankers = [one["value"]["ranker"] for one in note.get("result", ()) if one.get("type") == "ranker"]
    if len(rankers) != 1 or not isinstance(rankers[0], Mapping):
        raise UserError(f"{where}: an annotation has {len(rankers)} results of a Ranker, one is needed.")
    ranks = _bucket_ranks(rankers[0], where)
    if set(ranks) != set(texts):
        raise UserError(f"{where}: the Ranker names the items {sorted(ranks)}, the task has {sorted(texts)}: rank each once.")
    who, meta = note.get("completed_by", ""), note.get("meta") or {}
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id") or ""
    n = len(texts)
    return Comparison(
        prompt_id=str(data.get("prompt_id", "")),
        prompt=data["prompt"],
        completions=tuple(texts.values()),
        ranks=tuple(ranks[name] for name in texts),
        finished=tuple(map(bool, data.get("finished") or (True,) * n)),
        policies=tuple(map(str, data.get("policies") or ())),
        ratings=tuple(meta.get("ratings") or ()),
        flags=tuple(dict(one) for one in meta.get("flags") or ()),
        labeler_id=str(who),
        use_case=str(data.get("use_case", "other")),
        split=str(data.get("split", "train")),
    )


def _bucket_ranks(ranker: Mapping[str, Any], where: str) -> dict[str, int]:
    """Item -> rank."""
    buckets = [(name, list(map(str, members))) for name, members in ranker.items() if members or name != "_"]
    if any(name == "_" for name, _ in buckets):
        raise UserError(f"{where}: {len(ranker['_'])} items are in no bucket, rank all of them.")
    if len(buckets) == 1 and len(ranker) == 1 and not buckets[0][0].isdecimal():  # a Ranker without buckets: an order
        return {name: place for place, name in enumerate(buckets[0][1], 1)}
    if all(name.isdecimal() for name, _ in buckets):
        buckets.sort(key=lambda one: int(one[0]))
    filled = [members for _, members in buckets if members]
    return {name: rank for rank, members in enumerate(filled, 1) for name in members}


def from_potato(
    rows: Sequence[Mapping[str, Any]], tasks: Mapping[str, Comparison], scheme: str, labels: Sequence[str], labeler: str
) -> list[Comparison]:
    """Comparisons of one annotator's output of Potato, from a scheme of the type "ranking".

    rows: of annotated_instances.jsonl (`id`, `label_annotations`). tasks: instance id -> its prompt and outputs. labels: of
    the scheme, one for each output in their order; Potato writes them in the order of the ranking, with commas. Instances
    without an answer are left out. Raises UserError naming the row.
    """
    found = []
    for number, row in enumerate(rows, 1):
        where = f"row {number}"
        answers = row.get("label_annotations")
        name = str(row.get("id", ""))
        if not isinstance(answers, Mapping):
            raise UserError(f'{where}: "label_annotations" is missing, give Potato\'s annotated_instances.jsonl.')
        if name not in tasks:
            raise UserError(
                f"{where}: the instance {name!r} is not among the {len(tasks)} outputs, give the file they came from."
            )
        values = list((answers.get(scheme) or {}).values())
        if not values or not values[0]:
            continue
        order = _potato_order(str(values[0]), labels)
        k = len(tasks[name].completions)
        if sorted(order) != sorted(labels[:k]):
            raise UserError(f"{where}: the ranking {values[0]!r} does not name each of {', '.join(labels[:k])} once.")
        ranks = tuple(order.index(label) + 1 for label in labels[:k])
        one = tasks[name]
        found.append(Comparison(one.prompt_id, one.prompt, one.completions, ranks, one.finished, one.policies, (), (), labeler))
    return found


def _potato_order(text: str, labels: Sequence[str]) -> list[str]:
    """The labels in a text with commas between them; a label may hold a comma itself."""
    order, rest = [], text
    longest = sorted(labels, key=len, reverse=True)
    while rest:
        match = next((one for one in longest if rest == one or rest.startswith(one + ",")), None)
        if match is None:
            return []
        order.append(match)
        rest = rest[len(match) + 1 :].lstrip()
    return order
