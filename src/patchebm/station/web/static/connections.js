// Keeps the page of connections up to date: asks the station for the page again, and takes over what has changed.

// Milliseconds between two requests.
const EVERY = 2000;

const at = (id) => document.getElementById(id);
const live = (page) => [...page.querySelectorAll("#main [data-live]")];
const ids = (page) => live(page).map((one) => one.id).join(" ");

async function refresh() {
  try {
    const answer = await fetch(location.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Signed out, or a connection was added or deleted.
    if (answer.status === 401 || answer.redirected || (answer.ok && ids(fresh) !== ids(document))) {
      location.reload();
      return;
    }
    at("lost").hidden = answer.ok;
    if (!answer.ok) return;
    for (const one of live(fresh)) {
      // What is the same stays as it is: a button keeps the focus, and nothing is read out twice.
      if (at(one.id).innerHTML !== one.innerHTML) at(one.id).replaceChildren(...one.childNodes);
    }
    document.body.dataset.live = "yes";
  } catch {
    at("lost").hidden = false;
  }
}

async function run() {
  // A page in the background asks for nothing.
  if (!document.hidden) await refresh();
  setTimeout(run, EVERY);
}

run();
