// The operator's page: asks for the secret, keeps it for this tab only, and shows the views.

const SECRET = 'secret';
const WRONG = 'the secret is wrong';

function logIn(message) {
  const input = h('input', { type: 'password', id: 'secret', required: true, autocomplete: 'current-password' });
  const line = h('p', { role: 'alert', className: 'bad' }, message || '');
  const form = h('form', { className: 'login', onsubmit(event) {
    event.preventDefault();
    openViews(input.value, line);
  } }, h('label', { htmlFor: 'secret' }, 'Secret of the admin listener (admin.secret)'),
  h('div', { className: 'row' }, h('div', { className: 'grow' }, input), h('button', {}, 'Open')), line);
  document.querySelectorAll('#header > :not(h1)').forEach((element) => element.remove());
  MAIN.replaceChildren(form);
  input.focus();
}

function logOut(message) {
  sessionStorage.removeItem(SECRET);
  logIn(message);
}

/** Opens the views if the server accepts the secret. */
async function openViews(secret, line) {
  const headers = { Authorization: 'Bearer ' + secret };
  async function api(method, path) {
    const response = await fetch(path, { method, headers, cache: 'no-store' });
    if (response.status === 401 && sessionStorage.getItem(SECRET)) {
      logOut('The server does not accept this secret any more.');
    }
    if (response.status === 401) throw new Error(WRONG);
    return response;
  }
  try {
    await api('GET', '/-/status');
  } catch (error) {
    if (line) say(line, error.message === WRONG ? 'This is not the secret.' : error.message, 'bad');
    else if (sessionStorage.getItem(SECRET)) logIn(error.message);
    return;
  }
  sessionStorage.setItem(SECRET, secret);
  const place = h('div', { id: 'place' });
  // The playground asks for images, so it is made when it is opened.
  let handlers = null;
  function openPlayground() {
    if (!handlers) return;
    place.replaceChildren(playground({
      handlers,
      get: (path, signal) => fetchImage('/-/image' + path, headers, signal),
      async sign(path) {
        const { url, error } = await (await api('POST', '/-/sign' + path)).json();
        if (error) throw new Error(error);
        return url;
      },
      list: async (handler) => (await api('GET', '/-/keys/' + encodeURIComponent(handler.name))).json(),
      base: '',
    }));
    handlers = null;
  }
  const status = statusView(api, (changed) => {
    handlers = changed;
    if (!place.hidden) openPlayground();
  });
  const views = { Status: status.element, Playground: place };
  const buttons = Object.keys(views).map((name) => h('button', { type: 'button', onclick: () => open(name) }, name));
  function open(name) {
    buttons.forEach((button) => button.setAttribute('aria-pressed', button.textContent === name));
    for (const [other, view] of Object.entries(views)) view.hidden = other !== name;
    if (name === 'Playground') openPlayground();
  }
  document.getElementById('header').append(h('nav', { 'aria-label': 'Views' }, buttons),
    h('button', { type: 'button', id: 'log-out', onclick: () => logOut() }, 'Forget the secret'));
  MAIN.replaceChildren(status.element, place);
  open('Status');
  status.run(() => status.element.isConnected);
}

if (sessionStorage.getItem(SECRET)) openViews(sessionStorage.getItem(SECRET));
else logIn();
