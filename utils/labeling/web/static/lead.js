// Copy a link to the clipboard.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  const link = document.querySelector("[data-link]");
  button.hidden = !navigator.clipboard;
  link.select();
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(link.value);
    document.querySelector("[data-said]").textContent = button.dataset.done;
  });
}
