// What a person would complain of on an open page, as four lists of sentences; the page is left as it is.
() => {
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const hidden = (element) => element.closest("defs, title, .tail, [aria-hidden=true]") !== null;

  // Every visible piece of text: its element, its words, its boxes.
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || hidden(element) || !visible(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1);
    if (boxes.length) texts.push({ element, said: node.data.trim().slice(0, 40), boxes });
  }

  // Words that a narrow column breaks in two; a digest or a path may break.
  const broken = [];
  for (const label of document.querySelectorAll("th, dt, .head b, h2, h3, h4, .slices .name, .verdict, .note, caption")) {
    if (!visible(label) || label.querySelector("code, svg text")) continue;
    for (const node of label.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE) continue;
      for (const found of node.data.matchAll(/[^\s/_=&-]+/g)) {
        const range = document.createRange();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(found[0]);
      }
    }
  }

  const channels = (colour) => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    return parts.length === 3 ? [...parts, 1] : parts;
  };
  const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(channels(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ratio = (first, second) => {
    const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = texts
    .map(({ element, said }) => {
      const style = getComputedStyle(element);
      const back = ground(element);
      const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
      return [ratio(over(ink, back), back), said];
    })
    .filter(([contrast]) => contrast < 4.5)
    .map(([contrast, said]) => `${said}: ${contrast.toFixed(2)}`);

  // Marks that carry a meaning stand out from the paper by 3 to 1 (WCAG 1.4.11), by their line or by their surface.
  const dim = new Set();
  for (const mark of document.querySelectorAll("main svg :is(circle, rect, path, line)")) {
    if (!visible(mark) || hidden(mark) || mark.matches(".grid, .frame, .beyond, .heard, .box, .lineage *")) continue;
    const { fill, stroke } = getComputedStyle(mark);
    if (fill.startsWith("url")) continue;
    const back = ground(mark.closest("svg").parentElement);
    const inks = (mark.tagName === "line" ? [stroke] : [fill, stroke]).filter((one) => one !== "none").map(channels);
    if (!inks.some((ink) => ratio(over(ink, back), back) >= 3)) dim.add(`${mark.tagName}.${mark.getAttribute("class")}`);
  }

  // Texts that lie on one another: boxes sorted from top to bottom, compared while they can still meet.
  const boxes = texts.flatMap((text) => text.boxes.map((box) => ({ ...text, box }))).sort((a, b) => a.box.y - b.box.y);
  const overlaps = [];
  boxes.forEach((one, at) => {
    for (let next = at + 1; next < boxes.length && boxes[next].box.top < one.box.bottom - 3; next++) {
      const other = boxes[next].box;
      const across = Math.min(one.box.right, other.right) - Math.max(one.box.left, other.left);
      if (across > 1) overlaps.push(`${one.said} on ${boxes[next].said}`);
    }
  });

  // Marks that stick out of their plot: a mark's own size (its radius, a stroke) is allowed for.
  const allowed = 10;
  const outside = [];
  for (const plot of document.querySelectorAll(".plot > svg, .canvas > svg, .bar > svg, .track > svg")) {
    if (!visible(plot)) continue;
    const box = plot.getBoundingClientRect();
    for (const mark of plot.querySelectorAll("circle, rect, path, line")) {
      const place = mark.getBoundingClientRect();
      const out = Math.max(box.left - place.left, place.right - box.right, box.top - place.top, place.bottom - box.bottom);
      if (out > allowed) outside.push(`${mark.tagName} of "${plot.getAttribute("aria-label")}" by ${out.toFixed(0)} px`);
    }
  }

  // Rows of one picture whose plots do not stand under each other, so that the axis would lie.
  const askew = [];
  for (const picture of document.querySelectorAll("table.forest, .slices, .stream")) {
    const rows = [...picture.querySelectorAll(".plot > svg, .slices > .row svg, summary .bar > svg, .track > svg")];
    const places = rows.filter(visible).map((plot) => plot.getBoundingClientRect());
    const off = places.filter((box) => Math.abs(box.x - places[0].x) > 1 || Math.abs(box.width - places[0].width) > 1);
    if (off.length) askew.push(`${off.length} rows of ${picture.className}`);
  }

  const cramped = [...document.querySelectorAll("td.n, .slices .n, .stream .n")]
    .filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.textContent);
  return { faint, dim: [...dim], overlaps, broken, askew, outside, cramped, wide: document.documentElement.scrollWidth - innerWidth, texts: texts.length };
};
