"""The store of people's labels: one core without a user interface, under the web pages, the notebook and the command line.

Needs the extra `[labeling]`. Everything is a function of an open `Store`:

    store = open_store("labels.db")                       # or "postgresql://user:password@host/name"
    project = create_project(store, "week 1", ProjectSettings(overlap=2))
    add_items(store, project.id, [NewItem("ranking", prompt, (Output("one", "sft"), Output("two", "ppo")))])
    labeler = add_labeler(store, project.id, "Ana")
    task = next_task(store, labeler.id)                   # None: nothing to do
    version = save_draft(store, labeler.id, task.token, {"ranks": [1, None]}, task.draft_version)
    receipt = submit(store, labeler.id, task.token, {"ranks": [2, 1]}, key="chosen by the client", seconds=31.5)

Design:

- **Projects, labelers, items.** A project has labelers and items. An item is a prompt with K outputs (none for
  demonstrations). It has a kind (`forms.KINDS`: demonstration, rating, ranking, flagging, topics) and a phase
  (`forms.PHASES`: screening, training, final_evaluation). It is for `overlap` labelers: 1 is exclusive. Gold items and
  attention checks look like work.
- **Assignments.** `next_task` leases an item to a labeler. A lease that ends gives it back; the draft stays. The order of
  outputs is random per labeler and recorded. Outside the store a task has only a random token, and outputs only their place
  on the screen: all lists of a `Task`, a draft and an answer are in the order shown.
- **Submissions.** A receipt means: on the disk. The client chooses a key; the same key is the same submission. Another key for
  the same task replaces the answer, and the earlier one stays in the table without counting.
- **Errors** are `StoreError`s (also `UserError`s) with a sentence for the person at the screen: InvalidAnswer (field),
  StaleDraft (version, draft), LeaseLost, Forbidden, NotFound, Unavailable (locked, full: safe to try again).
- **Quality.** `dashboard` and `progress` (agreement, drift, who deserves a look), `list_disagreements`, `get_case` and
  `adjudicate` (blind), `screening_table`, `demonstrations_to_score` and `score_demonstration` (B.1's four criteria),
  `decide_labeler`, `delete_labeler`. One read of all submissions as arrays (`labels`), no counters to keep in step.
- **Rows.** `import_*` and `export_*` exchange rows of `utils.data.schemas` with a store; `exchange` has the forms of TRL,
  Label Studio and Potato. The pipeline reads a store where a file of rankings can be named (`utils.pipeline.labels`).
- **Transactions.** SQLite has WAL and synchronous=FULL; writers wait in a queue. PostgreSQL locks the rows it gives away.
"""

from __future__ import annotations

from utils.labeling.store.adjudication import (
    BlindAnswer,
    Case,
    Disagreement,
    adjudicate,
    get_case,
    list_disagreements,
)
from utils.labeling.store.candidates import (
    CandidateRow,
    DemonstrationToScore,
    demonstrations_to_score,
    score_demonstration,
    screening_table,
)
from utils.labeling.store.dashboard import (
    Counts,
    Dashboard,
    DayRow,
    LabelerRow,
    Progress,
    Share,
    UseCaseRow,
    dashboard,
    progress,
)
from utils.labeling.store.database import Store, open_store
from utils.labeling.store.errors import (
    Forbidden,
    InvalidAnswer,
    LeaseLost,
    NotFound,
    StaleDraft,
    StoreError,
    Unavailable,
)
from utils.labeling.store.exchange import from_label_studio, from_potato, preference_pairs, to_label_studio
from utils.labeling.store.forms import BEST_RATING, FLAGS, KINDS, PHASES, ROLES, SCREENING, TOPICS, Answer, check_answer
from utils.labeling.store.people import (
    add_labeler,
    change_project,
    create_project,
    decide_labeler,
    delete_labeler,
    find_labeler,
    get_labeler,
    get_project,
    get_setting,
    list_labelers,
    list_projects,
    revoke_invitation,
    set_setting,
    signing_key,
)
from utils.labeling.store.records import (
    STATUSES,
    Labeler,
    NewItem,
    Output,
    Project,
    ProjectSettings,
    Receipt,
    ShownOutput,
    Task,
)
from utils.labeling.store.rows import (
    ExportChoice,
    export_comparisons,
    export_demonstrations,
    import_comparisons,
    import_demonstrations,
    import_outputs,
    import_prompts,
)
from utils.labeling.store.work import add_items, count_tasks, get_task, next_task, save_draft, skip, submit

__all__ = [
    "BEST_RATING",
    "FLAGS",
    "KINDS",
    "PHASES",
    "ROLES",
    "SCREENING",
    "STATUSES",
    "TOPICS",
    "Answer",
    "BlindAnswer",
    "CandidateRow",
    "Case",
    "Counts",
    "Dashboard",
    "DayRow",
    "DemonstrationToScore",
    "Disagreement",
    "ExportChoice",
    "Forbidden",
    "InvalidAnswer",
    "Labeler",
    "LabelerRow",
    "LeaseLost",
    "NewItem",
    "NotFound",
    "Output",
    "Progress",
    "Project",
    "ProjectSettings",
    "Receipt",
    "Share",
    "ShownOutput",
    "StaleDraft",
    "Store",
    "StoreError",
    "Task",
    "Unavailable",
    "UseCaseRow",
    "add_items",
    "add_labeler",
    "adjudicate",
    "change_project",
    "check_answer",
    "count_tasks",
    "create_project",
    "dashboard",
    "decide_labeler",
    "delete_labeler",
    "demonstrations_to_score",
    "export_comparisons",
    "export_demonstrations",
    "find_labeler",
    "from_label_studio",
    "from_potato",
    "get_case",
    "get_labeler",
    "get_project",
    "get_setting",
    "get_task",
    "import_comparisons",
    "import_demonstrations",
    "import_outputs",
    "import_prompts",
    "list_disagreements",
    "list_labelers",
    "list_projects",
    "next_task",
    "open_store",
    "preference_pairs",
    "progress",
    "revoke_invitation",
    "save_draft",
    "score_demonstration",
    "screening_table",
    "set_setting",
    "signing_key",
    "skip",
    "submit",
    "to_label_studio",
]
