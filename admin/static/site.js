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

// When a list is in force arrives by itself: asked for quickly at first, then once in a while.
for (const place of document.querySelectorAll("[data-in-force]")) {
  let wait = 200;
  const ask = async () => {
    try {
      const answer = await fetch(place.dataset.inForce, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const told = await answer.json();
      if (place.innerHTML.trim() !== told.html.trim()) place.innerHTML = told.html;
      if (told.in_force) return;
      wait = Math.min(wait * 1.2, 5000);
    } catch {
      wait = 5000;
    }
    setTimeout(ask, wait);
  };
  if (!place.querySelector(".live")) setTimeout(ask, wait);
}
