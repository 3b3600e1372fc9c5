// The playground: options, the image without them and with them, its URL.

const FORMATS = { jpg: 'JPEG', webp: 'WebP', avif: 'AVIF' };
const MEDIA = { 'image/jpeg': 'JPEG', 'image/png': 'PNG', 'image/webp': 'WebP', 'image/avif': 'AVIF', 'image/jxl': 'JPEG XL', 'image/gif': 'GIF' };
/** Values of `f` that are answered with a text. */
const DESCRIPTIONS = ['json', 'thumbhash', 'blurhash'];
/** What the browser would accept for an image; the options `f=auto` chooses by it. */
const ACCEPT = 'image/avif,image/webp,image/*;q=0.8';

/**
 * `get(path, signal)` fetches the image at a path such as `/h/a.jpg?w=3`; `sign(path)` gives the path with a signature,
 * or is null; `list(handler)` gives its keys.
 */
function playground({ handlers, get, sign, list, base }) {
  const state = { handler: handlers[0], key: '', run: 0, original: null };
  const keys = h('datalist', { id: 'keys' });
  const key = h('input', { id: 'key', list: 'keys', autocomplete: 'off', spellcheck: false, required: true });
  const keyNote = h('small');
  const select = h('select', { id: 'handler' }, handlers.map((handler) => h('option', {}, handler.name)));
  const origin = h('input', { id: 'base', value: base, placeholder: 'scheme and host', spellcheck: false });
  const preset = h('select', { id: 'option-p' });
  const sizes = h('select', { id: 'size' });
  const notice = h('p', { className: 'bad' });
  const original = picture('Without options');
  const result = picture('With these options');
  const formats = Object.fromEntries(Object.entries(FORMATS).map(([name, title]) => [name, picture(title)]));
  const compare = h('input', { type: 'checkbox', id: 'compare', checked: true });
  const output = h('div', { id: 'snippets' });
  const controls = DATA.parameters.map((parameter) => control(parameter, changed));
  const gravity = controls.find((one) => one.name === 'g');
  const marker = h('i', { hidden: true });
  const focus = h('button', {
    type: 'button', className: 'focus', id: 'focus', title: 'Set the focal point (g=fp:x:y): click, or arrow keys',
    onclick(event) {
      const box = focus.getBoundingClientRect();
      // A click by keyboard has no position.
      const at = (position, start, length) =>
        event.detail === 0 ? 0.5 : Math.min(1, Math.max(0, (position - start) / length));
      setFocus(at(event.clientX, box.left, box.width), at(event.clientY, box.top, box.height));
    },
    onkeydown(event) {
      const step = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = focalPoint() || [0.5, 0.5];
      setFocus(Math.min(1, Math.max(0, x + step[0])), Math.min(1, Math.max(0, y + step[1])));
    },
  });
  original.image.before(focus);
  focus.append(original.image, marker);
  let timer = 0;
  let abort = new AbortController();

  function focalPoint() {
    const match = /^fp:([\d.]+):([\d.]+)$/.exec(gravity.get());
    return match && [Number(match[1]), Number(match[2])];
  }

  function setFocus(x, y) {
    gravity.set('fp:' + Number(x.toFixed(3)) + ':' + Number(y.toFixed(3)));
    changed();
  }

  function changed() {
    clearTimeout(timer);
    timer = setTimeout(render, 200);
  }

  /** The options that differ from their defaults, in the order of the table. */
  function options() {
    const chosen = {};
    if (preset.value) chosen.p = preset.value;
    if (state.handler.presets_only) return chosen;
    if (state.handler.allowed_sizes && sizes.value) {
      const [width, height] = sizes.value.split('x');
      if (width > 0) chosen.w = width;
      if (height > 0) chosen.h = height;
    }
    for (const one of controls) {
      const value = one.get();
      if (value !== '' && !one.element.hidden) chosen[one.name] = value;
    }
    return chosen;
  }

  function path(chosen) {
    return '/' + encodeURIComponent(state.handler.name) + '/' + encodePath(state.key) + encodeQuery(chosen);
  }

  async function render() {
    const run = ++state.run;
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    state.key = key.value;
    const chosen = options();
    const focal = focalPoint();
    marker.hidden = !focal;
    if (focal) [marker.style.left, marker.style.top] = focal.map((share) => share * 100 + '%');
    if (!state.key) {
      say(notice, 'Enter a key.', 'muted');
      return;
    }
    say(notice, needsToken());
    const at = state.handler.name + '\n' + state.key;
    if (!state.original || state.original.at !== at) {
      state.original = null;
      const plain = state.handler.presets_only ? chosen : {};
      const shown = await original.show(() => get(path(plain), signal), null);
      if (run !== state.run) return;
      if (shown) state.original = { at, size: shown.size };
    }
    const before = state.original && state.original.size;
    const shown = await result.show(() => get(path(chosen), signal), before);
    if (run !== state.run) return;
    await snippets(chosen, shown);
    if (run !== state.run) return;
    const all = compare.checked && !state.handler.presets_only;
    for (const [format, one] of Object.entries(formats)) {
      one.figure.hidden = !all;
      if (!all || run !== state.run) continue;
      const lossy = { ...chosen, f: format };
      if (format === 'jpg') delete lossy.lossless;
      await one.show(() => get(path(lossy), signal), before);
    }
  }

  function needsToken() {
    const { token } = state.handler;
    if (!token || !token.required || sign) return '';
    const needed = token.type === 'hmac' ? 'a signature (t=…)' : 'a JSON Web Token';
    return 'This handler serves images only with ' + needed + '. The URLs below have none; this page can show no image.';
  }

  /** The URL of a path, signed if the handler wants that and this page can. */
  async function url(chosen) {
    const plain = path(chosen);
    const { token } = state.handler;
    const signed = sign && token && token.type === 'hmac' ? await sign(plain) : plain;
    return origin.value.replace(/\/+$/, '') + signed;
  }

  async function snippets(chosen, shown) {
    const run = state.run;
    const attribute = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
    const source = async (extra) => attribute(await url({ ...chosen, ...extra }));
    const size = shown ? ' width="' + shown.width + '" height="' + shown.height + '"' : '';
    const lines = [];
    try {
      lines.push(['URL', await url(chosen)]);
      const hasSize = chosen.w || chosen.h;
      if (!state.handler.presets_only && hasSize && !chosen.dpr && !DESCRIPTIONS.includes(chosen.f)) {
        const [one, two] = [await source({}), await source({ dpr: 2 })];
        lines.push(['<img srcset>', '<img src="' + one + '"\n     srcset="' + two + ' 2x"' + size + ' alt="">']);
      }
      if (!state.handler.presets_only && !chosen.f) {
        const element = (format, address) => '  <source type="image/' + format + '" srcset="' + address + '">\n';
        const [avif, webp] = [await source({ f: 'avif' }), await source({ f: 'webp' })];
        lines.push(['<picture>', '<picture>\n' + element('avif', avif) + element('webp', webp) +
          '  <img src="' + await source({}) + '"' + size + ' alt="">\n</picture>']);
      }
      const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
      lines.push(['curl', 'curl -o image ' + quote(await url(chosen))]);
      const { token } = state.handler;
      if (token && token.type === 'hmac') {
        lines.push(['sign', 's3imageserver -c config.json sign ' + quote(path(chosen))]);
      }
    } catch (error) {
      lines.push(['URL', 'can\u2019t be signed: ' + error.message]);
    }
    if (run === state.run) output.replaceChildren(...lines.map(([name, text]) => snippet(name, text)));
  }

  async function choose() {
    const { handler } = state;
    preset.replaceChildren(h('option', { value: '' }, 'none'),
      ...Object.entries(handler.presets).map(([name, query]) => h('option', { value: name }, name + ' (' + query + ')')));
    preset.parentNode.hidden = Object.keys(handler.presets).length === 0;
    const allowed = handler.allowed_sizes;
    sizes.replaceChildren(...(allowed || []).map(([width, height]) =>
      h('option', { value: width + 'x' + height }, (width || 'any') + ' × ' + (height || 'any'))));
    sizes.parentNode.hidden = !allowed || handler.presets_only;
    for (const one of controls) {
      one.showDefault(handler.defaults[one.name]);
      one.element.hidden = handler.presets_only || (allowed && ['w', 'h'].includes(one.name));
      if (['w', 'h'].includes(one.name)) one.element.querySelector('input').max = handler.max_dimension;
      if (one.name === 'wm') {
        one.element.hidden ||= handler.watermarks.length === 0;
        one.element.querySelector('input').placeholder = handler.watermarks.join(',');
      }
    }
    const found = await list(handler);
    if (handler !== state.handler) return;
    keys.replaceChildren(...found.keys.map((name) => h('option', { value: name })));
    keyNote.textContent = found.keys.length === 0 ? 'of an original'
      : 'of ' + found.keys.length + (found.complete ? '' : ' and more');
    if (!key.value || !found.keys.includes(key.value)) key.value = found.keys[0] || '';
    render();
  }

  select.onchange = () => {
    state.handler = handlers[select.selectedIndex];
    key.value = '';
    choose();
  };
  key.onchange = changed;
  for (const element of [preset, sizes, compare, origin]) element.onchange = changed;
  const form = h('form', { id: 'options', className: 'split', onsubmit: (event) => { event.preventDefault(); render(); } },
    h('div', { className: 'row all' },
      handlers.length > 1 && labelled('Handler', select),
      labelled(['Key ', keyNote], key, 'grow'), keys,
      labelled('Address in the lines below', origin, 'grow'),
      h('button', {}, 'Show')),
    // On a phone, the images come into view first.
    h('details', { open: matchMedia('(min-width: 55rem)').matches }, h('summary', {}, 'Options'), h('div', { className: 'options' },
      labelled('Preset (p)', preset), labelled('Allowed sizes (w, h)', sizes), controls.map((one) => one.element),
      h('div', { className: 'wide row' },
        h('button', { type: 'button', id: 'reset', onclick: () => { controls.forEach((one) => one.set('')); preset.value = ''; changed(); } },
          'Reset the options')))),
    h('div', {}, notice,
      h('div', { className: 'grid' }, original.figure, result.figure),
      h('label', { className: 'pair' }, compare, 'The same in three formats:'),
      h('div', { className: 'grid three' }, Object.values(formats).map((one) => one.figure)),
      h('h2', {}, 'To copy'), output));
  const view = h('section', { id: 'playground', 'aria-label': 'Playground' }, form);
  choose();
  return view;
}

/** A figure that shows an image with its size, time and saving. */
function picture(title) {
  const image = h('img', { alt: title, hidden: true });
  const text = h('pre', { hidden: true, tabIndex: 0 });
  const caption = h('figcaption', { 'aria-live': 'polite' });
  const figure = h('figure', { className: 'panel' }, h('h3', {}, title), image, text, caption);
  let shownUrl = '';
  /** Shows the response of `load`; `before` is the size to compare with. Returns null if there is no image. */
  async function show(load, before) {
    caption.className = 'muted';
    caption.textContent = 'Loading…';
    let shown = null;
    try {
      const { response, blob, took } = await load();
      const error = response.status + ': ' + response.headers.get('X-Error');
      text.hidden = true;
      if (response.ok && !blob.type.startsWith('image/')) {
        const body = await blob.text();
        text.textContent = blob.type === 'application/json' ? JSON.stringify(JSON.parse(body), null, 2) : body;
        [image.hidden, text.hidden] = [true, false];
        caption.className = '';
        caption.textContent = [bytes(blob.size), time(response, took)].join(', ');
        return null;
      }
      if (!blob.type.startsWith('image/')) {
        image.hidden = true;
        throw new Error(error.replace('null', (await blob.text()).trim().slice(0, 300)));
      }
      const url = URL.createObjectURL(blob);
      image.src = url;
      URL.revokeObjectURL(shownUrl);
      shownUrl = url;
      image.hidden = false;
      await image.decode();
      // The handler's error image.
      if (!response.ok) throw new Error(error);
      shown = { size: blob.size, width: image.naturalWidth, height: image.naturalHeight };
      const parts = [shown.width + ' × ' + shown.height + ' pixels', MEDIA[blob.type] || blob.type, bytes(blob.size)];
      if (before) parts.push(saving(before, blob.size));
      parts.push(time(response, took));
      caption.className = '';
      caption.textContent = parts.join(', ');
    } catch (error) {
      if (error.name === 'AbortError') return null;
      caption.className = 'bad';
      caption.textContent = error.message;
    }
    return shown;
  }
  return { figure, image, show };
}

/** The time of decoder and encoder if the server tells it, or of the whole request. */
function time(response, took) {
  const cache = response.headers.get('X-Cache') || '';
  const timing = response.headers.get('Server-Timing') || '';
  const phase = (name) => Number((new RegExp('(?:^|[ ,])' + name + ';dur=([\\d.]+)').exec(timing) || [])[1] || 0);
  const work = phase('decode') + phase('encode');
  const part = phase('encode') ? ', encoded in ' + milliseconds(phase('encode')) + ' of ' + milliseconds(work) : '';
  return 'answered in ' + milliseconds(took) + (cache && ' (' + cache + ')') + part;
}

function snippet(name, text) {
  const button = h('button', { type: 'button', 'aria-label': 'Copy ' + name, onclick: () => copy(text, button) }, 'Copy');
  return h('div', { className: 'snippet' },
    h('div', {}, h('strong', {}, name), button), h('pre', { tabIndex: 0, 'data-name': name }, text));
}

/** The control of a parameter; the empty value stands for the default. */
function control(parameter, changed) {
  const { name, control: kind, documentation } = parameter;
  const id = 'option-' + name;
  let input;
  const properties = { id, onchange: changed, title: parameter.rule };
  if (kind.type === 'flag' || kind.type === 'choice') {
    const values = kind.type === 'flag' ? ['true', 'false'] : kind.values;
    input = h('select', properties, h('option', { value: '' }),
      values.map((value) => h('option', { value }, value)));
  } else if (kind.type === 'number') {
    const { min, max, step } = kind;
    input = h('input', { ...properties, type: 'number', min, max, step, oninput: changed });
  } else {
    const pattern = kind.type === 'colour' ? { pattern: '[0-9a-fA-F]{6}([0-9a-fA-F]{2})?' } : {};
    input = h('input', { ...properties, ...pattern, spellcheck: false });
  }
  const parts = [input];
  if (kind.type === 'colour') {
    const well = h('input', { type: 'color', value: '#ffffff', 'aria-label': name + ': choose a colour',
      onchange() { input.value = well.value.slice(1); changed(); } });
    parts.push(well);
  }
  const label = h('label', { htmlFor: id }, h('b', {}, name), h('span', {}, documentation));
  const element = h('div', {}, label, h('div', { className: 'pair' }, parts));
  return {
    name, element,
    /** Shows the handler's default, or that of the table. */
    showDefault(value) {
      const shown = value || parameter.default;
      if (input.options) input.options[0].textContent = 'default: ' + shown;
      else input.placeholder = shown;
    },
    get() {
      return input.validity.valid ? input.value : '';
    },
    set(value) {
      if (input.options && value && ![...input.options].some((option) => option.value === value)) {
        const custom = [...input.options].find((option) => option.dataset.custom);
        custom ? Object.assign(custom, { value, textContent: value })
          : input.append(h('option', { value, 'data-custom': true }, value));
      }
      input.value = value;
    },
  };
}

async function fetchImage(path, headers, signal) {
  const begun = performance.now();
  const response = await fetch(path, { headers: { Accept: ACCEPT, ...headers }, cache: 'no-store', signal });
  const blob = await response.blob();
  return { response, blob, took: performance.now() - begun };
}

/** The page of one handler on a public port. */
function startPlayground() {
  const { handler, keys, complete } = DATA;
  document.title = handler.name + ' · s3imageserver';
  document.querySelector('h1').textContent = 's3imageserver: ' + handler.name;
  MAIN.replaceChildren(playground({
    handlers: [handler],
    get: (path, signal) => fetchImage(path, {}, signal),
    sign: null,
    list: async () => ({ keys, complete }),
    base: location.origin,
  }));
}
