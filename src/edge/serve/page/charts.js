// Metrics in the text format of Prometheus, and charts of their last minutes.

const POINTS = 60;

/** The samples of a scrape: name, labels, value. */
function parseMetrics(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const match = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    samples.push({ name: match[1].replace(/^s3imageserver_/, ''), labels, value: Number(match[3]) });
  }
  return samples;
}

/** The sum of a family over the samples with these labels; null if there are none. */
function sum(samples, name, labels) {
  const matches = ({ labels: own }) => Object.entries(labels || {}).every(([label, value]) => own[label] === value);
  const found = samples.filter((sample) => sample.name === name && matches(sample));
  return found.length ? found.reduce((total, sample) => total + sample.value, 0) : null;
}

/** What a counter has gained a second between two scrapes. A restart begins at 0. */
function rate(before, now, name, labels) {
  const [old, current] = [sum(before.samples, name, labels) || 0, sum(now.samples, name, labels) || 0];
  return Math.max(0, current - (current < old ? 0 : old)) / Math.max(0.001, now.time - before.time);
}

/** A quantile in seconds of the observations between two scrapes; null without any. */
function quantile(before, now, name, share) {
  const counts = new Map();
  const add = (samples, sign) => {
    for (const { name: own, labels, value } of samples) {
      if (own === name + '_bucket') counts.set(labels.le, (counts.get(labels.le) || 0) + sign * value);
    }
  };
  add(now.samples, 1);
  add(before.samples, -1);
  const buckets = [...counts].map(([le, count]) => [le === '+Inf' ? Infinity : Number(le), count]).sort((a, b) => a[0] - b[0]);
  const total = buckets.length ? buckets[buckets.length - 1][1] : 0;
  if (total <= 0) return null;
  const rank = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= rank) return bound === Infinity ? lower : lower + (bound - lower) * (rank - below) / (count - below || 1);
    [lower, below] = [bound, count];
  }
  return lower;
}

/** A chart of several series; `push` adds a point to each. A point of null is a gap. */
function chart(title, names, format) {
  const series = names.map(() => []);
  const drawing = svg('svg', { class: 'chart', viewBox: '0 0 ' + (POINTS - 1) + ' 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
  const legend = h('div', { className: 'legend' });
  const top = h('span', { className: 'muted' });
  // Hidden until its metric exists.
  const element = h('div', { className: 'panel', hidden: true }, h('h3', {}, title), top, drawing, legend);
  function push(values) {
    values.forEach((value, index) => {
      series[index].push(value);
      if (series[index].length > POINTS) series[index].shift();
    });
    element.hidden &&= values.every((value) => value === null);
    const peak = Math.max(...series.flat().filter((value) => value !== null), 0);
    top.textContent = 'up to ' + format(peak);
    drawing.replaceChildren(...series.map((points, index) => {
      let pen = 'M';
      const path = points.map((value, at) => {
        if (value === null) { pen = 'M'; return ''; }
        const x = POINTS - points.length + at;
        const step = pen + x + ' ' + (98 - 96 * value / (peak || 1)).toFixed(1);
        pen = 'L';
        return step;
      });
      return svg('path', { class: 's' + (index + 1), d: path.join('') });
    }));
    legend.replaceChildren(...names.map((name, index) => {
      const value = values[index];
      const sign = svg('svg', { viewBox: '0 0 14 8', 'aria-hidden': 'true' }, svg('path', { class: 's' + (index + 1), d: 'M0 4H14' }));
      return h('span', { 'data-series': name }, sign, name + ' ', h('b', {}, value === null ? '–' : format(value)));
    }));
  }
  return { element, push };
}
