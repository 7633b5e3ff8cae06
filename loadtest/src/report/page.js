"use strict";
// Says the values under the pointer. Everything else on the page works without.
for (const svg of document.querySelectorAll("svg[data-plot]")) {
  const plot = JSON.parse(svg.dataset.plot), cursor = svg.querySelector(".cursor");
  const tip = svg.parentNode.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  const share = x => plot.log ? Math.log(x / plot.from) / Math.log(plot.to / plot.from) : (x - plot.from) / (plot.to - plot.from);
  const place = x => plot.left + share(x) * (plot.right - plot.left);
  const two = n => String(n).padStart(2, "0");
  const clock = s => s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(Math.round(s) % 60)
    : s >= 60 ? Math.floor(s / 60) + ":" + two(Math.floor(s) % 60) : s + " s";
  const number = n => n.toLocaleString("en", { maximumSignificantDigits: 4 }).replaceAll(",", "\u202f");
  const add = (parent, tag, text) => { const node = parent.appendChild(document.createElement(tag)); node.textContent = text; return node; };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const nearest = plot.series.map(series => series.points.filter(p => p[0] !== null && p[1] !== null)
      .reduce((best, p) => best === null || Math.abs(place(p[0]) - at) < Math.abs(place(best[0]) - at) ? p : best, null));
    const found = nearest.filter(p => p !== null).reduce((best, p) => best === null || Math.abs(place(p[0]) - at) < Math.abs(place(best[0]) - at) ? p : best, null);
    if (found === null || at < plot.left - 8 || at > plot.right + 8) { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); return; }
    const x = place(found[0]);
    cursor.setAttribute("transform", "translate(" + x + ")");
    cursor.setAttribute("visibility", "visible");
    tip.replaceChildren();
    add(tip, "b", plot.clock ? clock(found[0]) : plot.title + " " + number(found[0]) + (plot.x ? " " + plot.x : ""));
    nearest.forEach((p, index) => {
      if (p === null || Math.abs(place(p[0]) - x) > 12) return;
      const row = add(tip, "div", "");
      add(row, "i", "").style.background = getComputedStyle(svg).getPropertyValue("--c" + index % 8);
      row.append(plot.series[index].name + ": " + number(p[1]) + (plot.y === "/s" ? "/s" : plot.y ? " " + plot.y : ""));
    });
    tip.hidden = false;
    const left = x * box.width / svg.viewBox.baseVal.width;
    tip.style.left = (left > box.width / 2 ? left - tip.offsetWidth - 14 : left + 14) + "px";
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); });
}
