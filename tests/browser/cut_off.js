// An element may stick out of a box that scrolls, a control may not: nobody scrolls a table to look for
// buttons that they don't know of. Text may end in an ellipsis where a title has it whole.
async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame(); await frame();
    const width = document.documentElement.clientWidth;
    const faults = [];
    const note = (why, node) => faults.push(`${why}: ${node.outerHTML.slice(0, 160)}`);
    const once = (read, known = new Map()) => (node) => {
        if (!known.has(node)) known.set(node, read(node));
        return known.get(node);
    };
    const style = once((node) => getComputedStyle(node));
    const hides = once((node) => style(node).overflowX !== "visible");
    const scrolls = once((node) => ["auto", "scroll"].includes(style(node).overflowX));
    const shortens = once((node) => style(node).textOverflow === "ellipsis" || style(node).webkitLineClamp !== "none");
    const boxes = once((node) => {
        const parent = node.parentElement;
        if (!parent || parent === document.body) return [];
        return hides(parent) ? [parent, ...boxes(parent)] : boxes(parent);
    });
    const sticksOut = (node, box) => {
        const inner = node.getBoundingClientRect(), outer = box.getBoundingClientRect();
        return inner.right > outer.right + 1 || inner.left < outer.left - 1;
    };
    if (document.documentElement.scrollWidth > width) faults.push("the page is wider than its window");
    const shown = [...document.querySelectorAll("body *")].filter((node) =>
        node.checkVisibility({visibilityProperty: true}) && node.getClientRects().length
        && !node.closest(".visually-hidden, .skip, option, thead, svg, .uplot"));
    for (const node of shown) {
        const rect = node.getBoundingClientRect();
        const around = boxes(node);
        if ((rect.right > width + 1 || rect.left < -1) && !around.some(scrolls) && !around.some(shortens)) note("beyond the window", node);
        if (hides(node) && !scrolls(node) && !shortens(node) && node.scrollWidth > node.clientWidth + 1
            && !["INPUT", "SELECT", "PROGRESS", "DETAILS"].includes(node.tagName)) note("hides a part of itself", node);
        if (style(node).textOverflow === "ellipsis" && node.scrollWidth > node.clientWidth && !node.closest("[title]")
            && !node.querySelector("[title]")) note("ends in an ellipsis, and nothing has it whole", node);
        if (node.matches("a.button, button, a[data-dialog], input, select, textarea, summary, td.actions a"))
            for (const box of around.filter((box) => sticksOut(node, box))) note("out of reach", node);
    }
    return faults.slice(0, 8);
}
