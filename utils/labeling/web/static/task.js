// A task: pages of one form, keys, the timer, drafts here and on the server, and a submission that is sent once.
"use strict";

const form = document.getElementById("work");
const words = JSON.parse(form.dataset.words);
const token = form.dataset.token;
const status = document.querySelector("[data-status]");
const problems = document.querySelector("[data-problems]");
const submitButton = document.querySelector("[data-submit]");
const RETRY = 4000; // milliseconds
const PATIENCE = 30000;

// --- fields ---------------------------------------------------------------------------------------------------------

const NOT_A_FIELD = new Set(["csrf", "key"]);

function fields() {
  return Object.fromEntries([...new FormData(form)].filter(([name]) => !NOT_A_FIELD.has(name)));
}

function fill(values) {
  for (const element of form.elements) {
    if (!element.name || NOT_A_FIELD.has(element.name)) continue;
    const value = values[element.name];
    if (element.type === "radio" || element.type === "checkbox") element.checked = value === element.value;
    else if (value !== undefined) element.value = value;
  }
  form.dispatchEvent(new Event("restored"));
}

// --- drafts: in this browser at once, on the server soon after ---------------------------------------------------------

const place = `labeling:${token}`;
let version = Number(form.dataset.version);
let keptHere = true;
let unsaved = false;
let saving = null;
let leaving = false;

function keepHere(saved) {
  try {
    localStorage.setItem(place, JSON.stringify({ fields: fields(), version, saved }));
    keptHere = true;
  } catch {
    keptHere = false;
  }
}

function found() {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null;
  }
}

function forget() {
  leaving = true;
  clearTimeout(saving);
  try {
    localStorage.removeItem(place);
    sessionStorage.removeItem(place);
  } catch {
    // Storage is switched off in this browser: there is nothing to forget.
  }
}

async function saveDraft() {
  if (leaving || !unsaved) return;
  unsaved = false;
  status.textContent = words.saving;
  try {
    const answer = await fetch(`/tasks/${token}/draft`, {
      method: "PUT",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF": form.dataset.csrf },
      body: JSON.stringify({ version, draft: fields() }),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const said = await answer.json();
    if (leaving) return;
    if (answer.ok) {
      version = said.version;
      keepHere(!unsaved);
      status.textContent = words.draft_saved;
      online();
    } else {
      unsaved = answer.status >= 429;
      status.textContent = keptHere ? words.draft_local : "";
      report([said.error], answer.status === 409 ? said.next : "");
    }
  } catch {
    unsaved = true;
    status.textContent = keptHere ? words.draft_local : "";
    offline();
  }
}

function changed() {
  if (leaving) return;
  unsaved = true;
  keepHere(false);
  count();
  marks();
  clearTimeout(saving);
  saving = setTimeout(saveDraft, 1200);
}

// A key per tab: the same tab that sends again, also after a reload, is recognised; another tab is not.
function ownKey() {
  try {
    form.elements.key.value = sessionStorage.getItem(place) || form.elements.key.value;
    sessionStorage.setItem(place, form.elements.key.value);
  } catch {
    // Without this storage the key of the page counts.
  }
}

// --- messages ---------------------------------------------------------------------------------------------------------

function report(sentences, next = "") {
  problems.replaceChildren();
  if (!sentences.length) return;
  const box = document.createElement("div");
  box.className = "errors";
  const list = document.createElement("ul");
  for (const sentence of sentences) {
    const line = document.createElement("li");
    line.textContent = sentence;
    list.append(line);
  }
  box.append(list);
  if (next) {
    const link = document.createElement("a");
    link.href = next;
    link.textContent = words.go_on;
    box.append(link);
  }
  problems.append(box);
}

let waiting = null;

function offline() {
  if (problems.dataset.offline) return;
  report([words.offline]);
  problems.dataset.offline = "yes";
}

function online() {
  if (!problems.dataset.offline) return;
  delete problems.dataset.offline;
  report([]);
  status.textContent = words.back_online;
}

// --- submission -------------------------------------------------------------------------------------------------------

function busy(on) {
  submitButton.disabled = on;
  submitButton.setAttribute("aria-busy", String(on));
}

async function submit() {
  if (leaving || submitButton.disabled) return;
  clearTimeout(waiting);
  tick();
  keepHere(false);
  busy(true);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const said = await answer.json();
    online();
    if (answer.ok) {
      forget();
      location.assign(said.next);
      return;
    }
    report(said.problems || [said.error], said.next || "");
    if (said.step !== undefined) show(said.step);
    problems.focus();
  } catch {
    offline();
    waiting = setTimeout(submit, RETRY);
  }
  busy(false);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
window.addEventListener("online", () => (waiting ? submit() : saveDraft()));
document.querySelector("[data-skip]").addEventListener("submit", forget);
window.addEventListener("beforeunload", (event) => {
  if (unsaved && !keptHere && !leaving) event.preventDefault();
});
setInterval(() => unsaved && !waiting && saveDraft(), 2 * RETRY);

// --- timer: seconds in which this page is in sight ----------------------------------------------------------------------

const clock = document.querySelector("[data-timer]");
let seconds = Number(form.dataset.seconds);
let since = document.hidden ? 0 : performance.now();

function tick() {
  const now = performance.now();
  if (since) seconds += (now - since) / 1000;
  since = document.hidden ? 0 : now;
  form.elements.seconds.value = seconds.toFixed(1);
  const whole = Math.floor(seconds);
  clock.textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

clock.hidden = false;
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);

// --- one output per page -------------------------------------------------------------------------------------------------

const sections = [...form.querySelectorAll("[data-step]")];
const layout = form.querySelector("[data-layout]");
const steps = form.querySelector("[data-steps]");
const previous = document.querySelector("[data-previous]");
const forward = document.querySelector("[data-forward]");
let step = 0;

function show(number, move = true) {
  step = Math.max(0, Math.min(sections.length - 1, number));
  sections.forEach((section, i) => (section.hidden = i !== step));
  const ranked = Boolean(sections[step]?.matches("[data-ranking]"));
  layout.classList.toggle("ranked", ranked);
  if (ranked) sections[step].querySelector("[data-board]").board.measure();
  const last = step >= sections.length - 1;
  previous.hidden = step === 0;
  forward.hidden = last;
  submitButton.hidden = !last;
  marks();
  if (move && sections.length > 1) window.scrollTo({ top: 0 });
}

function complete(section) {
  const names = new Set([...section.querySelectorAll("input[type=radio]")].map((one) => one.name));
  const boxes = [...section.querySelectorAll("select")];
  return [...names].every((name) => form.elements[name].value) && boxes.every((box) => box.value);
}

function marks() {
  if (!steps) return;
  steps.querySelectorAll("[data-go]").forEach((button, i) => {
    button.classList.toggle("complete", complete(sections[i]));
    if (i === step) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  });
}

if (steps) {
  steps.hidden = false;
  steps.addEventListener("click", (event) => {
    const button = event.target.closest("[data-go]");
    if (button) show(Number(button.dataset.go));
  });
}
previous.addEventListener("click", () => show(step - 1));
forward.addEventListener("click", () => show(step + 1));

// The rows that are not answered yet get the answer of an output without a fault.
function fillRest(section) {
  for (const row of section.querySelectorAll("[data-yes-no]")) {
    if (!row.querySelector(":checked")) row.querySelector(`[value=${row.dataset.yesNo}]`).checked = true;
  }
  changed();
}

for (const button of form.querySelectorAll("[data-rest]")) {
  button.hidden = false;
  button.addEventListener("click", () => fillRest(button.closest("[data-step]")));
}

// --- keys ----------------------------------------------------------------------------------------------------------------

function choose(input) {
  if (!input) return;
  input.checked = true;
  input.focus();
  changed();
}

function flip(row) {
  if (row) choose(row.querySelector(row.querySelector("[value=yes]").checked ? "[value=no]" : "[value=yes]"));
}

function rowKey(section, key) {
  const rating = section.querySelector("[data-rating]");
  const rows = section.querySelectorAll("[data-yes-no]");
  if (rating && /^[1-7]$/.test(key)) choose(rating.querySelector(`.likert [value="${key}"]`));
  else if (rating && key === "n") fillRest(section);
  else if (rating && /^[a-k]$/.test(key)) flip(rows[key.charCodeAt(0) - 97]);
  else if (!rating && rows.length && (key === "y" || key === "n")) choose(rows[0].querySelector(`[value=${key === "y" ? "yes" : "no"}]`));
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (step < sections.length - 1) show(step + 1);
    else submit();
    return;
  }
  if (event.key === "Escape" && event.target.matches("textarea")) event.target.blur();
  const typing = event.target.matches("textarea, select, input[type=text]");
  if (typing || event.ctrlKey || event.altKey || event.metaKey || !sections.length) return;
  const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (arrow && !event.target.matches("input[type=radio], .scroll-box")) show(step + arrow);
  else if (arrow || !rowKey(sections[step], event.key.toLowerCase())) return;
  event.preventDefault();
});

// --- the number of characters -----------------------------------------------------------------------------------------------

function count() {
  const line = form.querySelector("[data-count]");
  if (!line) return;
  const values = { n: form.elements.text.value.length.toLocaleString(), limit: Number(line.dataset.limit).toLocaleString() };
  line.textContent = line.dataset.count.replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

// --- start --------------------------------------------------------------------------------------------------------------------

const kept = found();
if (kept && !kept.saved) {
  fill(kept.fields);
  seconds = Number(kept.fields.seconds) || seconds;
  unsaved = true;
  status.textContent = words.draft_restored;
}
ownKey();
form.addEventListener("input", changed);
show(0, false);
count();
tick();
const start = form.querySelector("textarea#text");
if (start) start.focus();
else if (sections[0]?.matches("[data-ranking]")) form.querySelector("[data-piece]")?.focus({ preventScroll: true });
