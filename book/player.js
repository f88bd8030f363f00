// The player: step through a recorded run of a server, or through the journey of a packet.
//
// A page contains each run as <figure class="player"> with an ordered list (book/tools/record writes it);
// each item has its step as JSON in data-step.  This script hides the list, and draws the step that the
// reader has chosen.  Without JavaScript and on paper the list stays.
'use strict';
(() => {
const PAUSE = 2500; // ms for each step, after the button "Play"
const LOG_LINES = 4; // how many lines of the server's log are shown
const quiet = matchMedia('(prefers-reduced-motion: reduce)');

// Make an element with a class and its content: text and elements.
function make(tag, name, ...content) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...content);
    return element;
}
// Set the text of an element, and mark it if that changes it.
function put(element, text) {
    element.classList.toggle('changed', element.textContent !== text);
    element.textContent = text;
}

// ---- a run of a server: the clients, the sockets in the kernel, and the server's call ----

// A buffer: one square for each of the first bytes, and their number.
function buffer(label) {
    const squares = make('span', 'player-squares'), count = make('span', 'player-count');
    const element = make('div', 'player-buffer', make('span', 'player-label', label), squares, count);
    let last = 0;
    return {
        element,
        set(bytes, fin) {
            const now = bytes + (fin ? 0.5 : 0);
            element.classList.toggle('changed', now !== last);
            element.classList.toggle('filled', now > 0);
            last = now;
            squares.replaceChildren(...Array.from({ length: Math.min(bytes, 8) }, () => make('i')));
            count.textContent = fin ? (bytes ? `${bytes} B, FIN` : 'FIN') : bytes ? `${bytes} B` : 'empty';
        },
    };
}

function connection(name) {
    const client = make('div', 'player-client', name), place = make('div', 'player-place');
    const ends = [0, 1].map(() => [make('span'), make('span')]), states = ends.map(pair => make('div', 'player-state', ...pair));
    const own = buffer('receive buffer'), far = buffer('receive buffer');
    const near_end = make('div', 'player-end', make('div', 'player-place', 'client\'s socket'), own.element, states[0]);
    const far_end = make('div', 'player-end', place, far.element, states[1]);
    const line = make('div', 'player-line');
    const row = make('div', 'player-row', client, near_end, line, far_end);
    return {
        row,
        set(now, by) {
            client.classList.toggle('acts', by === name);
            row.classList.toggle('absent', !now.client.state && !now.server.state);
            near_end.classList.toggle('absent', !now.client.state);
            far_end.classList.toggle('absent', !now.server.state);
            far_end.classList.toggle('waiting', now.at === 'backlog');
            line.classList.toggle('absent', !now.client.state || !now.server.state);
            put(place, now.at === 'backlog' ? 'in the backlog' : now.at ? `server's ${now.at}` : now.server.state ? 'server\'s socket' : '–');
            [now.client, now.server].forEach((end, i) => {
                put(ends[i][0], end.state);
                put(ends[i][1], `send buffer: ${end.send ? `${end.send} B` : 'empty'}`);
            });
            own.set(now.client.receive, now.client.fin);
            far.set(now.server.receive, now.server.fin);
        },
    };
}

// A line of the log has three columns: what the call returned, the descriptor with its events, the action.
function log_line(line) {
    const columns = line.match(/^(.{20}) (fd \d+(?: \S+)?|)\s+(.*)$/);
    if (!columns) return make('div', 'player-log-line', make('span', 'player-log-whole', line)); // a message
    return make('div', 'player-log-line', ...columns.slice(1).map(text => make('span', '', text.trim())));
}

// A thread: the call that it is in, and the buffer on its stack.  The main thread has no buffer there.
function thread_box(name, is_main) {
    const now = make('div', 'player-now'), held = buffer('buffer');
    const stack = make('div', 'player-stack', make('span', 'player-label', 'stack'), ...is_main ? [] : [held.element]);
    const element = make('div', 'player-thread', make('div', 'player-heading', name), now, stack);
    return {
        element,
        set(thread, by) {
            const exists = thread.now !== '' && thread.now !== 'has ended', waits = /^waits|^has not/.test(thread.now);
            put(now, thread.now || 'not created yet');
            element.classList.toggle('absent', !exists);
            element.classList.toggle('asleep', !exists || waits);
            element.classList.toggle('acts', !by && exists && !waits);
            held.set(thread.held, false);
        },
    };
}

// The server: its call and its buffer, or a box for each of its threads.
function server_box(step) {
    if (!step.threads) {
        const now = make('div', 'player-now'), held = buffer('its buffer');
        const element = make('div', 'player-server', make('div', 'player-heading', 'server'), now, held.element);
        return {
            element,
            set(step) {
                put(now, step.now);
                element.classList.toggle('asleep', step.now.startsWith('waits'));
                element.classList.toggle('acts', !step.by);
                held.set(step.held);
            },
        };
    }
    const count = make('span'), boxes = step.threads.map(({ name }, i) => thread_box(name, i === 0));
    const heading = make('div', 'player-heading', 'server: ', count);
    return {
        element: make('div', 'player-server', heading, ...boxes.map(({ element }) => element)),
        set(step) {
            put(count, step.count === 1 ? '1 thread' : `${step.count} threads`);
            step.threads.forEach((thread, i) => boxes[i].set(thread, step.by));
        },
    };
}

function server_run(steps) {
    const rows = new Map(steps[0].clients.map(({ name }) => [name, connection(name)]));
    const backlog = make('div', 'player-backlog'), server = server_box(steps[0]);
    const log = make('div', 'player-log');
    const kernel = make('div', 'player-kernel', make('div', 'player-heading', 'kernel'), backlog, ...[...rows.values()].map(({ row }) => row));
    return {
        element: make('div', steps[0].threads ? 'player-run with-threads' : 'player-run', kernel, server.element, log),
        set(step) {
            for (const client of step.clients) rows.get(client.name).set(client, step.by);
            put(backlog, `backlog: ${step.backlog}`);
            server.set(step);
            const before = steps.slice(0, steps.indexOf(step)).flatMap(({ log }) => log).map(log_line);
            const new_lines = step.log.map(log_line);
            new_lines.forEach(line => line.classList.add('changed'));
            log.replaceChildren(...[...before, ...new_lines].slice(-LOG_LINES));
        },
    };
}

// ---- the journey of a packet: its boxes, the hops in each, and their times ----

const micro = us => `${us.toFixed(1)} µs`; // the unit of trace --json
const after_start = (step, steps) => step.ts - steps[0].ts;

function packet_journey(steps) {
    const length = after_start(steps[steps.length - 1], steps) || 1, boxes = [], hops = [], parts = [];
    for (const step of steps) {
        const hop = make('div', 'player-hop', make('span', '', step.name), make('span', 'player-at', micro(after_start(step, steps))));
        if (!boxes.length || boxes[boxes.length - 1].title !== step.cat) {
            boxes.push({ title: step.cat, element: make('div', 'player-box', make('div', 'player-heading', step.cat)) });
        }
        boxes[boxes.length - 1].element.append(hop);
        hops.push(hop);
    }
    for (let i = 1; i < steps.length; i++) {
        parts.push(make('i'));
        parts[i - 1].style.flexGrow = Math.max((steps[i].ts - steps[i - 1].ts) / length, 0.004);
    }
    return {
        element: make('div', 'player-journey', make('div', 'player-time', ...parts), ...boxes.map(box => box.element)),
        set(step) {
            const at = steps.indexOf(step);
            hops.forEach((hop, i) => { hop.classList.toggle('acts', i === at); hop.classList.toggle('ahead', i > at); });
            parts.forEach((part, i) => { part.classList.toggle('past', i < at); part.classList.toggle('changed', i === at - 1); });
            boxes.forEach(({ element }) => element.classList.toggle('acts', element.contains(hops[at])));
        },
    };
}

// ---- the words of a step ----

function words_of_server(step) {
    const log = step.log.length ? ` The log: ${step.log.map(line => line.trim()).join('; ')}.` : '';
    return [make('p', '', step.text), make('p', 'player-hidden', `The server: ${step.now}.${log} Levels: ${step.levels}.`)];
}

function words_of_journey(step, steps) {
    const before = steps[steps.indexOf(step) - 1];
    const times = [micro(after_start(step, steps)), before ? `+${micro(step.ts - before.ts)}` : '', step.track, step.args.carries];
    return [make('p', '', make('code', '', step.name), ` ${step.args.why}`),
        make('p', 'player-times', times.filter(Boolean).join('  ·  '))];
}

// ---- the player ----

function button(label, action) {
    const element = make('button', '', label);
    element.type = 'button';
    element.addEventListener('click', action);
    return element;
}

// The slider and the number of the step.  It calls go(step) when the reader moves the slider.
function slider(total, go) {
    const range = make('input', 'player-range'), count = make('span', 'player-step');
    Object.assign(range, { type: 'range', min: 1, max: total, step: 1 });
    range.setAttribute('aria-label', 'Step');
    range.addEventListener('input', () => go(range.value - 1));
    return {
        elements: [range, count],
        set(at) {
            count.textContent = `${at + 1} of ${total}`;
            range.value = at + 1;
            range.setAttribute('aria-valuetext', `step ${at + 1} of ${total}`);
        },
    };
}

// The button that shows or hides the list.
function list_button(figure) {
    const whole = button('All steps as text', () => {
        whole.setAttribute('aria-expanded', figure.classList.toggle('with-list'));
    });
    whole.setAttribute('aria-expanded', 'false');
    return whole;
}

// All controls.  They call draw(step), at once with the first step, and then with each that the reader chooses.
function controls(figure, total, draw) {
    let at = 0, timer = 0;
    const show = to => {
        at = Math.min(Math.max(to, 0), total - 1);
        draw(at);
        steps.set(at);
        back.setAttribute('aria-disabled', at === 0);
        forward.setAttribute('aria-disabled', at === total - 1);
        if (at === total - 1) stop();
    };
    const stop = () => {
        clearInterval(timer);
        timer = 0;
        play.textContent = 'Play';
    };
    const go = to => { stop(); show(to); };
    const back = button('Back', () => go(at - 1)), forward = button('Forward', () => go(at + 1)), steps = slider(total, go);
    const play = button('Play', () => {
        if (timer) return stop();
        show(at === total - 1 ? 0 : at + 1);
        timer = setInterval(() => show(at + 1), PAUSE);
        play.textContent = 'Pause';
    });
    // The arrow keys would turn the page of the book.
    figure.addEventListener('keydown', event => {
        const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: total - 1 }[event.key];
        if (to === undefined || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        event.stopPropagation();
        go(to);
    });
    const no_motion = () => { stop(); play.hidden = quiet.matches; };
    quiet.addEventListener('change', no_motion);
    show(0);
    no_motion();
    return [back, play, forward, ...steps.elements, list_button(figure)];
}

function start(figure) {
    const list = figure.querySelector('ol'), is_journey = figure.dataset.kind === 'journey';
    const steps = [...list.children].map(item => JSON.parse(item.dataset.step));
    const picture = (is_journey ? packet_journey : server_run)(steps), words = is_journey ? words_of_journey : words_of_server;
    const text = make('div', 'player-text');
    text.setAttribute('aria-live', 'polite');
    text.setAttribute('aria-atomic', 'true');
    picture.element.setAttribute('aria-hidden', 'true'); // the text says the same
    const row = make('div', 'player-controls', ...controls(figure, steps.length, at => {
        picture.set(steps[at]);
        text.replaceChildren(...words(steps[at], steps));
    }));
    row.setAttribute('role', 'group');
    row.setAttribute('aria-label', 'Step through the recording');
    list.before(make('div', 'player-stage', picture.element, text, row));
    figure.classList.add('ready');
}

// ---- the reader's own journey ----

// The packets of a file from `trace --json`: for each, its hops in the order of their time.
function packets_of(json) {
    const packets = new Map(), tracks = new Map(), events = JSON.parse(json).traceEvents;
    for (const event of events) if (event.name === 'thread_name') tracks.set(`${event.pid} ${event.tid}`, event.args.name);
    for (const event of events) {
        if (event.ph !== 'X' || !event.args?.hop || !Number.isFinite(event.ts)) continue;
        const hops = packets.get(event.args.packet) || new Map();
        if (!hops.has(event.args.hop)) hops.set(event.args.hop, { ...event, track: tracks.get(`${event.pid} ${event.tid}`) || '' });
        packets.set(event.args.packet, hops);
    }
    return [...packets].map(([number, hops]) => ({ number, steps: [...hops.values()].sort((a, b) => a.ts - b.ts) }));
}

function show_packet(place, packet, name) {
    const list = make('ol', '', ...packet.steps.map(step => {
        const item = make('li', '', make('code', '', step.name), ` ${step.cat}: ${step.args.why}`);
        item.dataset.step = JSON.stringify(step);
        return item;
    }));
    const figure = make('figure', 'player', make('figcaption', '', `Packet ${packet.number} of ${name}.`), list);
    figure.dataset.kind = 'journey';
    place.replaceChildren(figure);
    start(figure);
}

function open_file(text, name, place, note) {
    let packets;
    place.replaceChildren();
    try { packets = packets_of(text); } catch { packets = []; }
    if (!packets.length) {
        note.textContent = `${name} contains no journey. This page plays the files that trace --json writes.`;
        return;
    }
    const select = make('select', '', ...packets.map(({ number, steps }, i) =>
        Object.assign(make('option', '', `packet ${number}: ${steps.length} hops in ${micro(after_start(steps[steps.length - 1], steps))}`), { value: i })));
    const result = make('div');
    select.addEventListener('change', () => show_packet(result, packets[select.value], name));
    note.textContent = `${name} contains ${packets.length === 1 ? 'one packet' : `${packets.length} packets`}.`;
    place.append(make('label', 'player-choice', 'Packet: ', select), result);
    show_packet(result, packets[0], name);
}

function own_journey(area) {
    const input = make('input'), note = make('p', 'player-note'), place = make('div');
    const label = make('label', 'player-drop', make('span', '', 'Choose a file from trace --json, or drop it here: '), input);
    const take = file => file && file.text().then(text => open_file(text, file.name, place, note));
    Object.assign(input, { type: 'file', accept: '.json,application/json' });
    input.addEventListener('change', () => take(input.files[0]));
    note.setAttribute('role', 'status');
    for (const [name, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
        label.addEventListener(name, event => {
            event.preventDefault(); // otherwise the browser would leave the page and show the file
            label.classList.toggle('over', over);
            if (name === 'drop') take(event.dataTransfer.files[0]);
        });
    }
    area.replaceChildren(label, note, place);
}

document.querySelectorAll('figure.player').forEach(start);
document.querySelectorAll('.player-own').forEach(own_journey);
})();
