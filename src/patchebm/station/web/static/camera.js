// The page on which a camera is set up: asks for its newest picture and its figures again and again.

const camera = document.getElementById("camera");
const state = document.getElementById("state");
const address = `/sources/${camera.dataset.source}`;
const views = [...camera.querySelectorAll(".view")];
// Milliseconds between two pictures.
const EVERY = 400;
const best = new Map();

const figure = (value) => String(Number(value.toPrecision(3)));
const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

function tell(text) {
  state.hidden = !text;
  if (state.textContent !== text) state.textContent = text;
}

async function picture(view) {
  const answer = await fetch(`${address}/picture?view=${encodeURIComponent(view.dataset.view)}`);
  if (answer.status !== 200) return;
  const image = view.querySelector(".live");
  const before = image.src;
  image.src = URL.createObjectURL(await answer.blob());
  image.hidden = false;
  await image.decode().catch(() => {});
  if (before) URL.revokeObjectURL(before);
}

function show(view, facts) {
  const set = (name, text) => { view.querySelector(name).textContent = text; };
  const image = view.querySelector(".live");
  image.width = facts.width;
  image.height = facts.height;
  const most = Math.max(best.get(view) ?? 0, facts.sharpness);
  best.set(view, most);
  view.querySelector(".sharpness").value = most ? facts.sharpness / most : 0;
  view.querySelector(".brightness").value = facts.brightness;
  set(".sharpness-value", figure(facts.sharpness));
  set(".brightness-value", percent(facts.brightness));
  set(".overexposed", percent(facts.overexposed));
  set(".size", `${facts.width} × ${facts.height}`);
}

async function refresh() {
  try {
    const answer = await fetch(`${address}/meter`);
    const told = await answer.json();
    if (!answer.ok) {
      tell(told.detail);
      return;
    }
    tell(told.state);
    for (const [name, count] of Object.entries(told.counts)) document.getElementById(name).textContent = count;
    for (const view of views) {
      const facts = told.cameras[view.dataset.view];
      if (facts) {
        await picture(view);
        show(view, facts);
      }
    }
    camera.dataset.live = "yes";
  } catch (error) {
    tell(String(error));
  }
}

async function run() {
  // A page in the background asks for nothing.
  if (!document.hidden) await refresh();
  setTimeout(run, EVERY);
}

if (views.length) run();
