// Fetches the page anew and puts its parts in place; without this script the page's <meta> does the same.
(() => {
  if (!location.protocol.startsWith("http")) return;
  const root = document.documentElement;
  const every = Number(root.dataset.refresh) * 1000;
  const note = document.getElementById("stale");
  const opened = () => [...document.querySelectorAll("details[open]")].map((one) => one.id);
  const selecting = () => getSelection().toString() !== "";
  let last = Date.now();

  const refresh = async () => {
    if (document.hidden || selecting()) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(every) });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = opened();
      document.getElementById("live").replaceWith(fresh.getElementById("live"));
      open.forEach((id) => { const one = document.getElementById(id); if (one) one.open = true; });
      document.title = fresh.title;
      last = Date.now();
      note.hidden = true;
    } catch {
      note.hidden = false;
      note.textContent = `The gateway does not answer: what stands here is ${Math.round((Date.now() - last) / 1000)} s old.`;
    }
  };
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
})();
