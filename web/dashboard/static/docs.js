// The HTTP API by Swagger UI; nothing but this host is asked.
"use strict";

// Swagger UI's own filter looks at the names of tags only.
function withWords(tags, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (operation, tag) => {
    const { method, path, operation: about } = operation.toJS();
    const text = [tag, method, path, about.operationId, about.summary].join(" ").toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
  return tags
    .map((tag, name) => tag.update("operations", (all) => all.filter((operation) => matches(operation, name))))
    .filter((tag) => tag.get("operations").size > 0);
}

function filterBox({ React }) {
  const FilterContainer = ({ layoutSelectors, layoutActions }) => {
    const words = layoutSelectors.currentFilter();
    return React.createElement("div", { className: "wrapper filter" }, React.createElement("input", {
      id: "filter", className: "operation-filter-input", type: "search", placeholder: "Filter: a path, a method or words",
      "aria-label": "Filter operations", "aria-keyshortcuts": "/", value: typeof words === "string" ? words : "",
      onChange: (event) => layoutActions.updateFilter(event.target.value),
    }));
  };
  return { components: { FilterContainer }, fn: { opsFilter: withWords } };
}

const dark = matchMedia("(prefers-color-scheme: dark)");

// The choice made on the dashboard's pages counts here, too.
function followTheme() {
  let theme = null;
  try { theme = localStorage.getItem("holdfast-theme"); } catch { /* the system's, then */ }
  document.documentElement.classList.toggle("dark-mode", theme ? theme === "dark" : dark.matches);
}

followTheme(); // before the first paint: this script is not deferred
dark.addEventListener("change", followTheme);
addEventListener("storage", followTheme);

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
  event.preventDefault();
  document.getElementById("filter")?.focus();
});

document.addEventListener("DOMContentLoaded", () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null, filter: true,
  persistAuthorization: true, displayRequestDuration: true, docExpansion: "list", plugins: [filterBox],
}));
