// Ticking failures, copying text, counts beside the navigation: easier, but all works without.
"use strict";
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  // Of what is folded, the words that say so are none of the text.
  const copy = document.querySelector(button.dataset.copy)?.cloneNode(true);
  for (const words of copy?.querySelectorAll("[data-not-copied]") ?? []) words.remove();
  const text = copy?.textContent ?? "";
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text.trim());
    button.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(document.querySelector(button.dataset.copy));
    button.textContent = "Selected: copy it now";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

function tell(form) {
  const boxes = [...form.querySelectorAll('input[name="ids"]')];
  const ticked = boxes.filter((box) => box.checked).length;
  const all = form.querySelector("[data-tick-all]");
  if (all) {
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  }
  const count = form.querySelector("[data-ticked-count]");
  if (count) count.textContent = ticked ? `${ticked} ticked` : "Tick failures to act on them";
  for (const button of form.querySelectorAll("[data-needs-ticks]")) button.disabled = ticked === 0;
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form.selection");
  if (!form) return;
  if (event.target.matches("[data-tick-all]")) {
    for (const box of form.querySelectorAll('input[name="ids"]')) box.checked = event.target.checked;
  }
  tell(form);
});

addEventListener("pageshow", () => { for (const form of document.querySelectorAll("form.selection")) tell(form); });

// What htmx fetches is a whole page: the counts beside its navigation are newer than ours.
document.addEventListener("htmx:afterOnLoad", (event) => {
  const fresh = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  for (const count of document.querySelectorAll(".nav a[data-count] .count")) {
    const link = count.closest("a");
    const newer = fresh.querySelector(`.nav a[data-count="${link.dataset.count}"] .count`);
    if (!newer) continue;
    count.hidden = newer.hidden;
    count.textContent = newer.textContent;
    count.title = newer.title;
  }
});
