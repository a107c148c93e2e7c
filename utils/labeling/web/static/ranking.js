// The board of a ranking: outputs are dragged, or moved with keys, into ranks; outputs in one rank are tied.
// The select of each output holds its rank, so the form is the same with and without this script.
"use strict";

class Board {
  constructor(root) {
    this.root = root;
    this.pieces = [...root.querySelectorAll("[data-piece]")];
    this.tray = root.querySelector('[data-lane="0"] .drop');
    this.ranks = root.querySelector("[data-ranks]");
    this.live = root.querySelector("[data-say]");
    this.ranks.hidden = false;
    this.tray.replaceChildren(); // blanks between the outputs, so that it can be empty
    this.pieces.forEach((piece) => this.prepare(piece));
    this.arrange();
    root.closest("form").addEventListener("restored", () => this.arrange());
  }

  rankOf(piece) {
    return Number(piece.querySelector("select").value || 0);
  }

  drop(rank) {
    return this.root.querySelector(`[data-lane="${rank}"] .drop`);
  }

  arrange() {
    this.pieces.forEach((piece) => this.drop(this.rankOf(piece)).append(piece));
    this.measure();
  }

  // "Read all" is offered only where text is cut; a hidden board has no heights yet.
  measure() {
    for (const piece of this.pieces) {
      const text = piece.querySelector(".said");
      const cut = text.scrollHeight > text.clientHeight + 2;
      piece.querySelector("[data-more]").hidden = !(cut || piece.classList.contains("open"));
    }
  }

  prepare(piece) {
    const handle = piece.querySelector("[data-handle]");
    const more = piece.querySelector("[data-more]");
    handle.hidden = false;
    piece.tabIndex = 0;
    piece.setAttribute("role", "group");
    piece.querySelector("select").addEventListener("change", () => this.place(piece, this.rankOf(piece), false));
    piece.addEventListener("keydown", (event) => this.key(event, piece));
    piece.querySelector(".head").addEventListener("pointerdown", (event) => this.drag(event, piece, handle));
    more.addEventListener("click", () => {
      const open = piece.classList.toggle("open");
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? this.root.dataset.close : this.root.dataset.open;
    });
  }

  place(piece, rank, focus = true) {
    const changed = piece.parentElement !== this.drop(rank);
    const held = piece.contains(document.activeElement) ? document.activeElement : null;
    piece.querySelector("select").value = rank ? String(rank) : "";
    if (changed) this.drop(rank).append(piece);
    if (!rank) this.pieces.filter((one) => !this.rankOf(one)).forEach((one) => this.tray.append(one));
    if (focus) piece.focus({ preventScroll: false });
    else if (held && changed) held.focus();
    this.measure();
    this.say(piece, rank);
    if (changed) this.root.dispatchEvent(new Event("input", { bubbles: true }));
  }

  say(piece, rank) {
    const tied = this.pieces.filter((one) => one !== piece && rank && this.rankOf(one) === rank).map((one) => one.dataset.letter);
    const sentence = rank ? (tied.length ? this.root.dataset.tie : this.root.dataset.placed) : this.root.dataset.returned;
    const values = { name: piece.dataset.letter, rank, others: tied.join(", ") };
    this.live.textContent = sentence.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  key(event, piece) {
    if (event.target.closest("select, button") || event.ctrlKey || event.altKey || event.metaKey) return;
    const rank = this.rankOf(piece);
    const last = this.pieces.length;
    if (/^[1-9]$/.test(event.key) && Number(event.key) <= last) this.type(piece, Number(event.key));
    else if (event.key === "0" || event.key === "Backspace" || event.key === "Delete") this.place(piece, 0);
    else if (event.key === "ArrowRight") this.place(piece, Math.min(last, rank + 1));
    else if (event.key === "ArrowLeft" && rank) this.place(piece, Math.max(1, rank - 1));
    else if (event.key === "ArrowDown") this.step(piece, 1);
    else if (event.key === "ArrowUp") this.step(piece, -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // After a rank is typed for an output of the tray, the next one of the tray is ready.
  type(piece, rank) {
    const fresh = !this.rankOf(piece);
    this.place(piece, rank);
    const next = fresh && this.tray.querySelector("[data-piece]");
    if (next) next.focus();
  }

  step(piece, by) {
    const shown = [...this.root.querySelectorAll("[data-piece]")];
    const next = shown[shown.indexOf(piece) + by];
    if (next) next.focus();
  }

  drag(event, piece, handle) {
    const byHandle = handle.contains(event.target);
    if (event.button || event.target.closest("select") || (!byHandle && event.pointerType !== "mouse")) return;
    event.preventDefault();
    const ghost = document.createElement("div");
    ghost.className = "ghost";
    ghost.textContent = piece.getAttribute("aria-label");
    let over = null;
    const lift = (move) => {
      if (!ghost.isConnected) {
        document.body.append(ghost);
        piece.classList.add("dragged");
      }
      ghost.style.left = `${move.clientX + 10}px`;
      ghost.style.top = `${move.clientY + 10}px`;
      const edge = 60;
      if (move.clientY < edge + 50) window.scrollBy(0, -14);
      else if (move.clientY > window.innerHeight - edge) window.scrollBy(0, 14);
      const found = document.elementFromPoint(move.clientX, move.clientY)?.closest("[data-lane]");
      if (found === over) return;
      over?.classList.remove("over");
      over = found && this.root.contains(found) ? found : null;
      over?.classList.add("over");
    };
    const end = (stop) => {
      for (const [name, act] of [["pointermove", lift], ["pointerup", end], ["pointercancel", end], ["keydown", escape]]) {
        document.removeEventListener(name, act);
      }
      ghost.remove();
      piece.classList.remove("dragged");
      over?.classList.remove("over");
      if (stop.type === "pointerup" && over) this.place(piece, Number(over.dataset.lane));
      else piece.focus();
    };
    const escape = (press) => press.key === "Escape" && end(press);
    for (const [name, act] of [["pointermove", lift], ["pointerup", end], ["pointercancel", end], ["keydown", escape]]) {
      document.addEventListener(name, act);
    }
  }
}

document.querySelectorAll("[data-board]").forEach((root) => {
  root.board = new Board(root);
});
