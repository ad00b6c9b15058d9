"use strict";
// What makes the pages quicker; all of them work without it.

document.documentElement.classList.add("js");

for (const select of document.querySelectorAll("select[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

for (const all of document.querySelectorAll("[data-tick-all]")) {
  const boxes = () => all.form.querySelectorAll('input[name="at"]');
  all.addEventListener("change", () => boxes().forEach((box) => { box.checked = all.checked; }));
}

// A file that would be refused is not sent at all.
for (const file of document.querySelectorAll("input[data-most]")) {
  file.addEventListener("change", () => {
    const isTooLarge = [...file.files].some((one) => one.size > Number(file.dataset.most));
    file.setCustomValidity(isTooLarge ? file.dataset.tooLarge : "");
    file.reportValidity();
  });
}

// What changes by itself is asked for quickly at first, then once in a while, until there is nothing more to come.
const follow = (place, address, isOver, then) => {
  let wait = 200;
  const ask = async () => {
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const told = await answer.json();
      if (place.innerHTML.trim() !== told.html.trim()) place.innerHTML = told.html;
      if (isOver(told)) { then(); return; }
      wait = Math.min(wait * 1.2, 5000);
    } catch {
      wait = 5000;
    }
    setTimeout(ask, wait);
  };
  setTimeout(ask, wait);
};

// When a list is in force.
for (const place of document.querySelectorAll("[data-in-force]")) {
  if (!place.querySelector(".live")) follow(place, place.dataset.inForce, (told) => told.in_force, () => {});
}

// How far invitations have come; then the page tells what became of each.
for (const place of document.querySelectorAll("[data-progress]")) {
  follow(place, place.dataset.progress, (told) => told.done, () => location.reload());
}

// What is typed into the search field of a roll leaves the rows that hold it.
const filters = new Map();
for (const place of document.querySelectorAll("[data-filtered]")) {
  const search = document.querySelector("[data-filter]");
  const hint = document.querySelector("[data-filter-hint]");
  const filter = () => {
    // What the server has searched for already, it knows better.
    const typed = search.value.trim();
    const wanted = typed === search.defaultValue.trim() ? "" : typed.toLocaleLowerCase();
    for (const row of place.querySelectorAll("tbody tr")) {
      row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
    }
    hint.hidden = !wanted || !place.querySelector(".pages");
  };
  filters.set(place, filter);
  search.addEventListener("input", filter);
}

// A live roll: the server sends its changing part anew with each change. What was typed, opened and scrolled stays.
for (const place of document.querySelectorAll("[data-live]")) {
  const telling = document.querySelector("[data-telling]");
  const say = (state) => {
    for (const one of document.querySelectorAll("[data-state]")) one.hidden = one.dataset.state !== state;
  };
  const show = (html) => {
    const opened = [...place.querySelectorAll("details")].map((one) => [one.id, one.open]);
    const scrolled = [...place.querySelectorAll(".scroll")].map((one) => [one.id, one.scrollLeft]);
    const focused = place.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : null;
    place.innerHTML = html;
    const found = (id) => (id ? document.getElementById(id) : null);
    for (const [id, open] of opened) if (found(id)) found(id).open = open;
    for (const [id, left] of scrolled) if (found(id)) found(id).scrollLeft = left;
    if (found(focused)) {
      const details = found(focused).matches("details") ? found(focused).querySelector("summary") : found(focused);
      details.focus({ preventScroll: true });
    }
    const told = place.querySelector("[data-told]")?.dataset.told ?? "";
    if (telling.textContent !== told) telling.textContent = told;
    filters.get(place)();
  };
  let wait = 5000;
  const connect = () => {
    const source = new EventSource(place.dataset.live + location.search);
    const end = (state) => { source.close(); say(state); };
    source.addEventListener("open", () => { wait = 5000; say("on"); });
    source.addEventListener("roll", (event) => show(event.data));
    source.addEventListener("over", () => end("over"));
    source.addEventListener("signed-out", () => end("signed-out"));
    source.addEventListener("error", () => {
      say("lost");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 60000);
    });
  };
  connect();
}
