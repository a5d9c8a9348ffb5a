// Keeps a page up to date: the server sends the parts of the page that have changed, as
// server-sent events, from the address in data-live of #connection. A form with data-live is
// sent without leaving the page. Without this script the browser reloads the page.
'use strict';
(() => {
  // The server sends at least once in five seconds.
  const silence = 12000;
  const firstPause = 5000;
  const longestPause = 60000;
  const note = document.getElementById('connection');
  let source;
  let last = Date.now();
  let lost;
  let pause = firstPause;

  function say(text, isLost) {
    if (lost === isLost && note.textContent === text) return;
    lost = isLost;
    note.textContent = text;
    note.className = isLost ? 'bad' : 'dim';
    document.body.classList.toggle('lost', isLost);
  }

  function clock(time) {
    return new Date(time).toISOString().slice(11, 19) + ' UTC';
  }

  // replace keeps the element itself, whose role and focus a screen reader knows, and what
  // is open, focused and scrolled in it.
  function replace(id, html) {
    const target = document.getElementById(id);
    if (!target) return;
    const focused = target.contains(document.activeElement) ? document.activeElement : null;
    const label = focused && (focused.id || focused.getAttribute('aria-label'));
    const scrolled = [...target.querySelectorAll('.scroll')].map((e) => e.scrollLeft);
    target.replaceChildren(...new DOMParser().parseFromString(html, 'text/html').body.childNodes);
    target.querySelectorAll('.scroll').forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (!label) return;
    for (const e of target.querySelectorAll('[id], [aria-label]')) {
      if (e.id === label || e.getAttribute('aria-label') === label) e.focus({ preventScroll: true });
    }
  }

  function received(event) {
    const update = JSON.parse(event.data);
    last = Date.now();
    pause = firstPause;
    if (update.title) document.title = update.title + ' - keytail';
    for (const part of update.parts || []) replace(part.id, part.html);
    say('This page keeps itself up to date.', false);
  }

  function connect() {
    source = new EventSource(note.dataset.live);
    source.addEventListener('update', received);
  }

  // The browser connects again by itself, unless the server has answered with an error.
  function check() {
    setTimeout(check, pause);
    if (Date.now() - last < silence && source.readyState !== EventSource.CLOSED) return;
    say('No connection to keytail since ' + clock(last) + ': what you see is old. Trying again.', true);
    if (source.readyState !== EventSource.CLOSED) return;
    connect();
    pause = Math.min(2 * pause, longestPause);
  }

  // The outcome of a form comes with the next update. Only what failed is said here.
  function submitted(event) {
    const form = event.target;
    if (!form.hasAttribute('data-live')) return;
    event.preventDefault();
    const failed = document.getElementById('failed');
    const tell = (text) => { if (failed) failed.textContent = text; };
    // Not form.action, which is a button with that name.
    fetch(form.getAttribute('action'), {
      method: 'POST',
      redirect: 'manual',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(new FormData(form, event.submitter)).toString(),
    }).then(async (answer) => {
      if (answer.type === 'opaqueredirect') { tell(''); return; }
      tell((await answer.json()).detail);
    }).catch(() => tell('keytail does not answer: try again.'));
  }

  document.addEventListener('submit', submitted);
  connect();
  setTimeout(check, pause);
})();
