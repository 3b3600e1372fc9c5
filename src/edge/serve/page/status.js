// The status: charts, handlers, failures, keys that crashed the renderer, purges.

const INTERVAL = 2000;

/** `api(method, path)` sends a request with the secret, `onHandlers` is told when handlers have changed. */
function statusView(api, onHandlers) {
  const perSecond = (value) => value.toFixed(value < 10 ? 1 : 0) + '/s';
  const seconds = (value) => milliseconds(value * 1000);
  const count = (value) => value.toFixed(0);
  const results = ['hit', 'miss', 'stale', 'revalidated', 'shared'];
  const requests = (name) => (before, now) => rate(before, now, 'http_requests_total', { cache: name });
  const charts = [
    [chart('Images a second', results, perSecond), results.map(requests)],
    [chart('Time of a response', ['p50', 'p99'], seconds),
      [0.5, 0.99].map((share) => (before, now) => quantile(before, now, 'http_request_duration_seconds', share))],
    [chart('Renders a second', ['renders', 'errors'], perSecond),
      [(before, now) => rate(before, now, 'decode_duration_seconds_count'), (before, now) => rate(before, now, 'http_errors_total')]],
    [chart('Wait before a render, p99', ['queue', 'permit'], seconds),
      ['queue', 'permit'].map((name) => (before, now) => quantile(before, now, 'renderer_' + name + '_wait_seconds', 0.99))],
    [chart('Requests in the queue', ['waiting'], count), [(before, now) => sum(now.samples, 'renderer_queue_length')]],
    [chart('Resident memory', ['edge', 'renderer'], bytes),
      ['edge', 'renderer'].map((process) => (before, now) => sum(now.samples, 'process_resident_memory_bytes', { process }))],
  ];
  const line = statusLine();
  const lists = Object.fromEntries(['caches', 'handlers', 'failures', 'crashes'].map((name) => [name, h('div', { id: name })]));
  const purge = purgeForm(api);
  const element = h('section', { id: 'status', 'aria-label': 'Status' }, line,
    h('div', { className: 'grid', id: 'charts' }, charts.map(([one]) => one.element)),
    h('h2', {}, 'Caches'), lists.caches,
    h('h2', {}, 'Handlers'), lists.handlers,
    h('h2', {}, 'Last failures'), lists.failures,
    h('h2', {}, 'Keys that crashed the renderer or took too long'), lists.crashes,
    h('h2', {}, 'Purge'), purge.element);
  let before = null;
  let known = '';

  async function update() {
    const [status, metrics] = await Promise.all([api('GET', '/-/status'), api('GET', '/-/metrics')]);
    const value = await status.json();
    const now = { time: performance.now() / 1000, samples: parseMetrics(await metrics.text()) };
    if (before) for (const [one, series] of charts) one.push(series.map((read) => read(before, now)));
    before = now;
    refresh(lists.caches, value.caches.map(cache));
    refresh(lists.handlers, h('div', { className: 'grid' }, value.handlers.map(handler)));
    refresh(lists.failures, rows(value.failures.map(failure), 'No image has failed since the start.'));
    refresh(lists.crashes, rows(value.crashes.map(crash), 'None in the last minutes.'));
    const names = JSON.stringify(value.handlers.map((one) => ({ ...one, problems: null })));
    if (names !== known) {
      known = names;
      purge.setHandlers(value.handlers);
      onHandlers(value.handlers);
    }
    const reasons = value.not_ready.join('; ');
    say(line, (reasons && 'Not ready: ' + reasons + '. ') + 'Version ' + value.version + ', updated ' + new Date().toLocaleTimeString() + '.', reasons && 'bad');
  }

  /** Updates now and then, until `isOpen` is false. */
  async function run(isOpen) {
    while (isOpen()) {
      if (!document.hidden) {
        try {
          await update();
        } catch (error) {
          if (isOpen()) say(line, 'Can\u2019t update: ' + error.message, 'bad');
        }
      }
      await new Promise((resolve) => { setTimeout(resolve, INTERVAL); });
    }
  }
  return { element, run };
}

function rows(items, none) {
  return items.length ? h('ul', { className: 'rows' }, items) : h('p', { className: 'muted' }, none);
}

function cache({ name, entries, bytes: used, max_bytes: bound }) {
  const text = bytes(used) + (bound ? ' of ' + bytes(bound) : ', bounded by free disk space only') + ', ' + entries + ' entries';
  return h('p', {}, h('strong', {}, name), ': ' + text, Boolean(bound) && h('progress', { max: bound, value: used, 'aria-label': name }));
}

function place(origin) {
  if (origin.kind === 'directory') return 'directory ' + origin.directory;
  if (origin.kind === 'http') return origin.url;
  return 'bucket ' + origin.bucket + (origin.file_path && '/' + origin.file_path) + ' at ' + (origin.endpoint || 'AWS') + ', ' + origin.region;
}

function handler(one) {
  const { origins, token } = one;
  const facts = [
    [origins.length > 1 ? 'origins' : 'origin', origins.map(place).join('; then ')],
    ['format', one.output_format || 'the original\u2019s'],
    ['cache', one.cache_path || 'none'],
    ['token', token ? token.type + (token.required ? '' : ', optional') : 'none'],
    ['presets', Object.keys(one.presets).join(', ') || 'none'],
    ['playground', one.playground && 'open at /' + one.name + '/'],
  ].filter(([, value]) => value);
  return h('article', { className: 'panel', 'data-handler': one.name }, h('h3', {}, one.name),
    h('dl', {}, facts.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    one.problems.length ? one.problems.map((problem) => h('p', { className: 'bad' }, problem)) : h('p', { className: 'good' }, 'no problem known'));
}

function failure({ time, handler, key, code, reason, request_id: id, count }) {
  return h('li', {}, h('span', { className: 'muted' }, time + (count > 1 ? ', ' + count + ' times' : '')), ' ',
    h('strong', {}, code), ' ', keyCode(handler + '/' + key), h('br'), reason, id && h('span', { className: 'muted' }, ' request ' + id));
}

function crash({ path, timeout, blocked, seconds }) {
  const once = timeout ? ' took too long, is refused the next time' : ' decoded alone';
  return h('li', {}, keyCode(path), blocked ? h('strong', { className: 'bad' }, ' refused') : once,
    ' for ' + Math.ceil(seconds / 60) + ' more minutes');
}

function purgeForm(api) {
  const select = h('select', { id: 'purge-handler' });
  const key = h('input', { id: 'purge-key', spellcheck: false, autocomplete: 'off' });
  const line = statusLine();
  async function send(method, prefix) {
    const path = '/-/purge/' + encodeURIComponent(select.value) + '/' + encodePath(prefix);
    say(line, 'Purging…');
    try {
      const response = await api(method, path);
      const { error, renditions, original, originals } = await response.json();
      if (error) throw new Error(error);
      const count = originals === undefined ? Number(original) : originals;
      say(line, 'Removed ' + renditions + ' variants and ' + count + ' cached originals.', 'good');
    } catch (error) {
      say(line, error.message, 'bad');
    }
  }
  const element = h('form', { id: 'purge', onsubmit(event) { event.preventDefault(); if (key.value) send('POST', key.value); else say(line, 'Enter a key.', 'bad'); } },
    h('div', { className: 'row' }, labelled('Handler', select), labelled('Key or prefix', key, 'grow'),
      h('button', {}, 'Purge the key'),
      h('button', { type: 'button', id: 'purge-prefix', onclick() {
        const prefix = key.value.replace(/\/*$/, key.value ? '/' : '');
        const what = prefix ? 'everything below ' + prefix : 'everything of the handler ' + select.value;
        if (confirm('Purge ' + what + '?')) send('DELETE', prefix);
      } }, 'Purge the prefix')), line);
  return {
    element,
    setHandlers(handlers) {
      const chosen = select.value;
      select.replaceChildren(...handlers.map(({ name }) => h('option', {}, name)));
      if (handlers.some(({ name }) => name === chosen)) select.value = chosen;
    },
  };
}
