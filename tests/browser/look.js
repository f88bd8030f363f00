// tests/browser/look.js FOLDER: the part of tests/browser/run that needs a browser.  FOLDER contains book,
// empty, made and perfetto.  A server on 127.0.0.1 serves all four; no other host is contacted.
'use strict';
const fs = require('fs'), http = require('http'), path = require('path');
const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', wasm: 'application/wasm' };
// A phone with the dark theme and a desktop with the light theme, so that both are checked.
const SCREENS = [{ width: 390, colorScheme: 'dark' }, { width: 1280, colorScheme: 'light' }];
const SCROLLERS = 'pre > code, .table-wrapper'; // these may be wider than the page, and scroll
const file = (...names) => path.join(process.argv[2], ...names);
const files = (folder, end) => fs.readdirSync(file(folder)).filter(name => name.endsWith(end));

let passed = 0, failed = 0, base;
// Print a check: how many things it has looked at, and what is wrong.  If there were none, it fails.
function check(name, seen, wrong) {
    if (seen === 0) wrong = ['there was nothing to check'];
    console.log([`${wrong.length ? ' ✗' : ' ✓'} ${name} (${seen})`, ...new Set(wrong)].slice(0, 25).join('\n     '));
    if (wrong.length) failed++; else passed++;
}

// The book is at the root, because its page 404.html expects that; the others are in folders.
const server = http.createServer((request, response) => {
    let name = new URL(request.url, base).pathname.replace(/\/$/, '/index.html');
    if (!/^\/(empty|made|perfetto)\//.test(name)) name = `/book${name}`;
    fs.readFile(file(decodeURIComponent(name)), (error, bytes) => {
        response.writeHead(error ? 404 : 200, { 'content-type': TYPES[name.split('.').pop()] || 'application/octet-stream' });
        response.end(bytes);
    });
});

// ---- the book ----

// Runs in the page, and returns what is in it.
async function inspect(scrollers) {
    for (const details of document.querySelectorAll('details')) details.open = true;
    await document.fonts.ready;
    const late = () => [...document.querySelectorAll(scrollers)].some(e => e.scrollWidth > e.clientWidth && !e.hasAttribute('tabindex'));
    for (let tries = 0; tries < 20 && late(); tries++) await new Promise(again => setTimeout(again, 50)); // until book/keys.js has set it
    const main = document.querySelector('main'), root = document.scrollingElement;
    const wide = [...main.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.parentElement.closest(scrollers));
    const { violations } = await axe.run(document, { resultTypes: ['violations'] });
    return {
        wide: [...wide.map(e => `wider than the page: ${e.outerHTML.slice(0, 60)}`),
            ...[root, main].filter(e => e.scrollWidth > e.clientWidth).map(e => `<${e.localName}>: ${e.scrollWidth} px wide, but only ${e.clientWidth} px fit`)],
        images: [...document.images].map(image => [image.src, image.complete && image.naturalWidth > 0]),
        links: [...document.querySelectorAll('a[href]')].map(a => a.href),
        ids: [...document.querySelectorAll('[id]')].map(e => e.id),
        // in our text, or in the frame that mdBook puts around it
        axe: violations.flatMap(({ id, nodes }) => nodes.map(node =>
            [`${id} ${main.contains(document.querySelector(node.target[0])) ? 'in the text' : 'in the frame'}`, node.html.slice(0, 60)])),
    };
}

// With the focus on a block that scrolls, an arrow key scrolls it.  Without book/keys.js, mdBook goes to the next page.
async function arrow_key_scrolls(page) {
    const block = page.locator(`:is(${SCROLLERS})[tabindex]`).first();
    await block.press('ArrowRight', { timeout: 5000 });
    await page.waitForFunction(() => document.activeElement?.scrollLeft > 0, null, { timeout: 5000 });
}

async function book(browser, screen) {
    const page = await browser.newPage({ viewport: { width: screen.width, height: 844 }, colorScheme: screen.colorScheme });
    // without toc.html, which is part of other pages, and 404.html, which is not ours
    const names = files('book', '.html').filter(name => !/^(toc|404)/.test(name));
    const broken = [], wide = [], images = [], links = [], axe = [], keys = [], ids = new Map(), known = new Set();
    for (const name of ['empty/index.html', ...names]) {
        const note = (list, what) => list.push(`${name}: ${what}`);
        page.on('pageerror', error => note(broken, error.message));
        page.on('requestfailed', request => request.url().startsWith(base) && request.failure().errorText !== 'net::ERR_ABORTED' &&
            note(broken, `${request.url()}: ${request.failure().errorText}`)); // ERR_ABORTED: the browser no longer needs the file
        page.on('response', response => response.status() >= 400 && note(broken, `${response.url()}: ${response.status()}`));
        await page.goto(`${base}/${name}`);
        await page.evaluate(AXE);
        const seen = await page.evaluate(inspect, SCROLLERS);
        if (name === '01-blocking.html') await arrow_key_scrolls(page).catch(error => note(keys, error.message.split('\n')[0]));
        page.removeAllListeners();
        if (name.startsWith('empty/')) {
            seen.axe.forEach(([rule]) => known.add(rule));
            continue;
        }
        seen.axe.filter(([rule]) => !known.has(rule)).forEach(violation => note(axe, violation.join(': ')));
        seen.wide.forEach(what => note(wide, what));
        seen.links.filter(to => to.startsWith(base)).forEach(to => links.push([name, new URL(to)]));
        seen.images.forEach(image => images.push(image));
        ids.set(`/${name}`, new Set(seen.ids));
    }
    ids.set('/', ids.get('/index.html'));
    const dead = links.filter(([, to]) => !ids.has(to.pathname) || (to.hash && !ids.get(to.pathname).has(decodeURIComponent(to.hash.slice(1)))));
    const at = `the book at ${screen.width} px, ${screen.colorScheme}:`;
    check(`${at} no script error, no failed request`, names.length, broken);
    check(`${at} only code and tables are wider than the page`, names.length, wide);
    check(`${at} the arrow keys scroll code and tables`, 1, keys);
    check(`${at} every image loads`, images.length, images.filter(([, loaded]) => !loaded).map(([src]) => src));
    check(`${at} every link leads to a page and an anchor`, links.length, dead.map(([name, to]) => `${name}: ${to.pathname}${to.hash}`));
    check(`${at} axe reports no problem that an empty page does not have`, names.length, axe);
    await page.close();
}

// ---- the player ----

// Runs in the page: what a player shows.  What a screen reader says is the text, so it has to be different in each step.
const shown = figure => {
    const box = element => element.getBoundingClientRect(), live = figure.querySelector('[aria-live=polite]');
    return {
        step: figure.querySelector('.player-step').textContent, text: live.textContent, picture: figure.querySelector('[aria-hidden]').outerHTML,
        bottom: box(figure.querySelector('.player-controls')).top - box(figure).top,
        cut: [...figure.querySelectorAll('.player-log-line.changed')].filter(e => box(e).top < box(e.parentElement).top).map(e => e.textContent),
        wide: [...figure.querySelectorAll('*')].filter(e => box(e).width > 1 && box(e).right > innerWidth + 1).map(e => e.className),
        threads: [...figure.querySelectorAll('.player-thread')].map(e => e.textContent), stacks: [...figure.querySelectorAll('.player-stack')]
            .filter(e => getComputedStyle(e).visibility === 'visible' && e.offsetHeight > 0).length,
        over: [...figure.querySelectorAll('.player-thread *')].filter(e => box(e).right > box(e.parentElement).right + 1).map(e => e.className),
        moves: figure.getAnimations({ subtree: true }).length, plays: [...figure.querySelectorAll('button')].some(e => /Play|Pause/.test(e.textContent) && e.offsetParent),
    };
};

// What is wrong in the picture of the threads: a box for each, with its call and its bytes, and a stack for each that exists.
function wrong_threads({ threads = [], count = 0 }, now) {
    const wrong = now.over.map(name => `wider than the box around it: ${name}`);
    if (now.threads.length !== threads.length) wrong.push(`${now.threads.length} boxes for ${threads.length} threads`);
    threads.forEach(({ name, now: call, held }, i) => {
        const parts = [name, call || 'not created yet', held ? `${held} B` : ''];
        if (!parts.every(part => now.threads[i]?.includes(part))) wrong.push(`the box of ${name} does not show ${parts.join(', ')}`);
    });
    if (now.stacks !== count) wrong.push(`${now.stacks} stacks for ${count} threads`);
    return wrong;
}

// Step a player to its end and back with the keyboard only.  Returns the number of steps, and what is wrong.
async function play(page, figure) {
    const keys = page.keyboard, look = () => figure.evaluate(shown), wrong = [], texts = [], pictures = [], url = page.url();
    const steps = await figure.evaluate(e => [...e.querySelectorAll('li')].map(item => JSON.parse(item.dataset.step)));
    const press_until = async (key, name) => {
        for (let tries = 0; tries < 8 && await page.evaluate(() => document.activeElement.textContent) !== name; tries++) await keys.press(key);
    };
    await figure.getByRole('button', { name: 'All steps as text' }).focus();
    await press_until('Shift+Tab', 'Back');
    await press_until('Tab', 'Forward');
    for (let i = 0; i < steps.length; i++) {
        const now = await look();
        if (now.step !== `${i + 1} of ${steps.length}`) wrong.push(`step ${i + 1}: the player says ${now.step}`);
        if (![steps[i].text || steps[i].args.why, ...(steps[i].log || []).map(line => line.trim()), steps[i].levels || ''].every(part => now.text.includes(part)))
            wrong.push(`step ${i + 1}: a part of it is not in the text: ${now.text}`);
        if (now.text === texts[i - 1] || now.picture === pictures[i - 1]) wrong.push(`step ${i + 1} shows the same as the one before`);
        wrong.push(...wrong_threads(steps[i], now).map(what => `step ${i + 1}: ${what}`));
        if (now.cut.length) wrong.push(`step ${i + 1}: the log has no room for: ${now.cut[0]}`);
        if (now.wide.length) wrong.push(`step ${i + 1}: wider than the window: ${now.wide[0]}`);
        if (now.bottom !== (pictures.bottom ??= now.bottom)) wrong.push(`step ${i + 1}: the buttons jump from ${pictures.bottom} to ${now.bottom}`);
        if (now.moves) wrong.push(`step ${i + 1}: it is animated in spite of prefers-reduced-motion`);
        if (now.plays) wrong.push('there is a button Play in spite of prefers-reduced-motion');
        texts.push(now.text);
        pictures.push(now.picture);
        await keys.press(i % 2 ? 'ArrowRight' : 'Enter'); // on the button Forward
    }
    for (let i = steps.length - 2; i >= 0; i--) {
        await keys.press('ArrowLeft');
        if ((await look()).text !== texts[i]) wrong.push(`back at step ${i + 1}, the text is another`);
    }
    await keys.press('End');
    if ((await look()).text !== texts[steps.length - 1]) wrong.push('the key End does not lead to the last step');
    await keys.press('Home');
    if ((await look()).text !== texts[0]) wrong.push('the key Home does not lead to the first step');
    if (page.url() !== url) wrong.push(`a key has led to ${page.url()}`);
    return [steps.length, wrong];
}

const with_player = names => names.filter(name => fs.readFileSync(file('book', name), 'utf8').includes('<figure class="player"') && name !== 'print.html');
const axe_of = page => page.evaluate(async () => (await axe.run('figure.player, .player-own', { resultTypes: ['violations'] })).violations
    .flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.html.slice(0, 80)}`)));

async function players(browser, screen) {
    const at = `the players at ${screen.width} px, ${screen.colorScheme}:`, names = with_player(files('book', '.html')), wrong = [], axe = [];
    const page = await browser.newPage({ viewport: { width: screen.width, height: 844 }, colorScheme: screen.colorScheme, reducedMotion: 'reduce' });
    let steps = 0, with_threads = 0;
    for (const name of names) {
        await page.goto(`${base}/${name}`);
        await page.evaluate(AXE);
        // The page for the projector has the players of all chapters: one of them is enough there.
        const figures = await page.locator('figure.player').all();
        for (const figure of name === 'presenter.html' ? figures.slice(1, 2) : figures) {
            const [count, list] = await play(page, figure).catch(error => [1, [error.message.split('\n')[0]]]);
            steps += count;
            with_threads += await figure.locator('.with-threads').count();
            wrong.push(...list.map(what => `${name}: ${what}`));
            await figure.locator('.player-range').focus({ timeout: 5000 }).catch(() => wrong.push(`${name}: the player is no longer there`));
            for (let i = 0; i < count / 2; i++) await page.keyboard.press('ArrowRight');
            if (new URL(page.url()).pathname !== `/${name}`) break; // a key has led to another page
            axe.push(...(await axe_of(page)).map(what => `${name}: ${what}`));
        }
    }
    if (names.length !== 9) wrong.push(`${names.length} pages have a player, and not 9`);
    if (with_threads !== 2) wrong.push(`${with_threads} players show threads, and not 2`);
    check(`${at} to the end and back with the keyboard, in reduced motion`, steps, wrong);
    check(`${at} axe reports no problem in the middle of a run`, names.length, axe);
    await page.close();
}

// The button Play, where motion is welcome: it goes on by itself, up to the last step.
async function plays(browser) {
    const page = await browser.newPage({ reducedMotion: 'no-preference' }), wrong = [];
    await page.clock.install();
    await page.goto(`${base}/04-epoll.html`);
    const figure = page.locator('figure.player'), step = figure.locator('.player-step'), total = await figure.locator('li').count();
    await figure.getByRole('button', { name: 'Play' }).press('Enter');
    await page.clock.runFor(10000);
    const [middle] = (await step.textContent()).split(' ');
    if (!(middle > 3 && middle < total)) wrong.push(`10 s after Play it is at step ${middle}`);
    await figure.getByRole('button', { name: 'Pause' }).press('Enter');
    await page.clock.runFor(10000);
    if (!(await step.textContent()).startsWith(`${middle} `)) wrong.push('Pause does not stop it');
    await figure.getByRole('button', { name: 'Play' }).press('Enter');
    await page.clock.runFor(200000);
    if (await step.textContent() !== `${total} of ${total}`) wrong.push('Play does not reach the last step');
    if (!await figure.getByRole('button', { name: 'Play' }).count()) wrong.push('at the end, the button does not say Play');
    check('the player: Play, Pause, and the end', 1, wrong);
    await page.close();
}

// Without JavaScript and on paper, the list of the steps stands in the player's place.
async function lists(browser) {
    const seen = figure => ({
        items: [...figure.querySelectorAll('li')].filter(e => e.offsetHeight > 0).length, all: figure.querySelectorAll('li').length,
        stage: figure.querySelector('.player-stage')?.offsetHeight || 0, caption: figure.querySelector('figcaption').offsetHeight,
    });
    const names = with_player(files('book', '.html'));
    for (const [what, options, media] of [['without JavaScript', { javaScriptEnabled: false }, 'screen'], ['printed', {}, 'print']]) {
        const page = await browser.newPage(options), wrong = [];
        let count = 0;
        for (const name of names) {
            await page.goto(`${base}/${name}`);
            await page.emulateMedia({ media });
            for (const figure of await page.locator('figure.player').all()) {
                const { items, all, stage, caption } = await figure.evaluate(seen);
                count += all;
                if (items !== all || stage || !caption) wrong.push(`${name}: ${items} of ${all} steps are visible, and the player is ${stage} px high`);
            }
        }
        check(`the players, ${what}: the list of all steps`, count, wrong);
        await page.close();
    }
}

// The page for the reader's own journey: a file that is chosen or dropped, and one that is no journey.
async function own_journeys(browser) {
    const page = await browser.newPage({ reducedMotion: 'reduce' }), wrong = [], names = files('made', '.json'), requests = [];
    const area = page.locator('.player-own'), note = area.locator('.player-note');
    await page.goto(`${base}/journey.html`);
    await page.evaluate(AXE);
    page.on('request', request => request.url().includes('favicon') || requests.push(request.url())); // Chromium may ask for the icon late
    for (const name of names) {
        await area.locator('input[type=file]').setInputFiles(file('made', name));
        await note.filter({ hasText: `${name} contains` }).waitFor({ timeout: 5000 }).catch(() => wrong.push(`${name}: no answer`));
        if (!['lo.json', 'card-virtio.json', 'poll.json', 'sockets.json'].includes(name)) continue; // those differ most
        const events = JSON.parse(fs.readFileSync(file('made', name))).traceEvents.filter(event => event.ph === 'X' && event.args.packet === 1);
        const [steps, list] = await play(page, area.locator('figure.player')).catch(error => [0, [error.message.split('\n')[0]]]);
        if (steps !== new Set(events.map(event => event.args.hop)).size) list.push(`the packet has ${events.length} hops, and the player ${steps} steps`);
        wrong.push(...list.map(what => `${name}: ${what}`));
    }
    wrong.push(...await axe_of(page));
    // dropped: a file with a thousand packets, of which the reader chooses the last one
    const drop = (name, text) => area.locator('.player-drop').evaluate((target, [name, text]) => {
        const data = new DataTransfer();
        data.items.add(new File([text], name));
        for (const type of ['dragover', 'drop']) target.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
    }, [name, text]);
    await drop('dropped.json', fs.readFileSync(file('made', 'many.json'), 'utf8'));
    await note.filter({ hasText: 'dropped.json contains' }).waitFor({ timeout: 5000 }).catch(() => wrong.push('a dropped file is not opened'));
    const options = await area.locator('option').count();
    await area.locator('select').selectOption({ index: options - 1 });
    if (options < 2 || !(await area.locator('figcaption').textContent()).includes('dropped.json')) wrong.push(`the dropped file has ${options} packets`);
    for (const text of ['{"traceEvents":[]}', 'no JSON', '{"traceEvents":[{"ph":"X","args":{"hop":"irq"}}]}', '{"traceEvents":[null]}', '']) {
        await drop('wrong.json', text);
        const answer = await note.filter({ hasText: 'wrong.json contains no journey' }).waitFor({ timeout: 5000 }).catch(() => null);
        if (answer === null || await area.locator('figure').count()) wrong.push(`no message about a file with ${text}`);
        await drop('dropped.json', fs.readFileSync(file('made', 'lo.json'), 'utf8'));
        await note.filter({ hasText: 'dropped.json contains' }).waitFor({ timeout: 5000 }).catch(() => wrong.push('no file can be opened after a wrong one'));
    }
    wrong.push(...requests.map(url => `the page has asked for ${url}`));
    check('the reader\'s own journey: chosen, dropped, and a wrong file', names.length, wrong);
    await page.close();
}

// ---- the drawings ----

// Runs in the drawing, at the width of a phone, and returns what is wrong.  A word is a <text>, or a <tspan> with text.
function crowded() {
    const svg = document.documentElement, view = svg.viewBox?.baseVal, height = view && 390 * view.height / view.width;
    if (!height) return ['the drawing has no viewBox'];
    svg.style.cssText = `width:390px;height:${height}px;max-width:none;max-height:none;margin:0`;
    const frame = svg.getBoundingClientRect();
    const words = [...svg.querySelectorAll('text, tspan')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
        .map(e => [e.textContent.trim(), e.getBoundingClientRect()]);
    const both = (a, b) => [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
    const inside = ([, box]) => both(box, frame).every((size, i) => size > [box.width, box.height][i] - 1);
    const wrong = words.filter(word => !inside(word)).map(([text]) => `"${text}" is outside the drawing`);
    words.forEach(([text, box], i) => words.slice(i + 1).filter(([, other]) => both(box, other).every(size => size > 2))
        .forEach(([other]) => wrong.push(`"${text}" and "${other}" overlap`)));
    return words.length ? wrong : ['the drawing has no text'];
}

async function drawings(browser) {
    const page = await browser.newPage({ viewport: { width: 390, height: 844 } });
    for (const [what, folder, at] of [['the drawings of the book', 'book/images', 'images'], ['a new --svg of each recording', 'made', 'made']]) {
        const wrong = [];
        for (const name of files(folder, '.svg')) {
            await page.goto(`${base}/${at}/${name}`);
            wrong.push(...(await page.evaluate(crowded)).map(line => `${name}: ${line}`));
        }
        check(`${what}, at 390 px: no text is outside it or overlaps another`, files(folder, '.svg').length, wrong);
    }
}

// ---- Perfetto ----

// Runs in Perfetto's page, and returns what Perfetto has loaded.
async function ask() {
    const rows = async (sql, name) => {
        const list = [], result = await window.app.trace.engine.query(sql);
        for (const row = result.iter({}); row.valid(); row.next()) list.push(String(row.get(name)));
        return list;
    };
    return {
        slices: await rows('select id from slice where dur >= 0', 'id'), arrows: await rows('select id from flow where slice_out != slice_in', 'id'),
        threads: await rows('select name from thread', 'name'),
        errors: await rows("select name || ': ' || value as error from stats where severity != 'info' and value > 0", 'error'),
    };
}

// Returns the number of slices of a JSON, and what is wrong in the file or after Perfetto has loaded it.
async function recording(page, name) {
    const events = JSON.parse(fs.readFileSync(file('made', `${name}.json`))).traceEvents, chains = new Map(), errors = [];
    const wrong = events.filter(event => !'MXstf'.includes(event.ph)).map(event => `an unknown phase: ${event.ph}`);
    for (const event of events) if ('stf'.includes(event.ph)) chains.set(event.id, [...chains.get(event.id) || [], event]);
    for (const [id, chain] of chains) {
        const phases = chain.sort((a, b) => a.ts - b.ts).map(event => event.ph).join('');
        if (!/^st*f$/.test(phases)) wrong.push(`the arrow of packet ${id} has the phases ${phases}; expected s, any number of t, f`);
    }
    page.removeAllListeners();
    await page.goto('about:blank'); // otherwise only the part after # would change, and the page would not load
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(`${base}/perfetto/#!/?url=${encodeURIComponent(`${base}/made/${name}.json`)}`);
    const loaded = await page.waitForFunction(() => window.app?.trace?.engine, null, { timeout: 20000 }).catch(() => null);
    if (!loaded) return [1, [...wrong, `Perfetto does not load the file: ${errors.join('; ')}`]];
    const seen = await page.evaluate(ask), slices = events.filter(event => event.ph === 'X').length;
    const arrows = [...chains.values()].reduce((sum, chain) => sum + chain.length - 1, 0); // from each slice of a packet to the next one
    if (seen.slices.length !== slices) wrong.push(`Perfetto has ${seen.slices.length} slices, but the JSON has ${slices}`);
    if (seen.arrows.length !== arrows) wrong.push(`Perfetto has ${seen.arrows.length} arrows, but the JSON has ${arrows}`);
    // A line of a recording starts with time, CPU and thread.  The last event of a packet is the server's read.
    const text = fs.readFileSync(file('made', `${name}.txt`), 'utf8');
    const cpus = [...text.matchAll(/^\d+ (\d+) \d+ t (sys_exit_re|recvmsg_re)/gm)].map(match => `cpu${match[1]}`);
    if (!cpus.length) wrong.push('the recording names no CPU');
    for (const cpu of cpus) if (!seen.threads.includes(cpu)) wrong.push(`Perfetto shows no track ${cpu}`);
    return [slices, [...wrong, ...seen.errors.map(error => `Perfetto reports: ${error}`)]];
}

async function perfetto(browser) {
    const page = await browser.newPage({ viewport: { width: 640, height: 360 }, serviceWorkers: 'block' });
    for (const name of files('made', '.json')) {
        const result = await recording(page, name.slice(0, -5)).catch(error => [1, [error.message]]);
        check(`Perfetto loads the slices and arrows of ${name}`, ...result);
    }
}

async function main() {
    await new Promise(ready => server.listen(0, '127.0.0.1', ready));
    base = `http://127.0.0.1:${server.address().port}`;
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
        '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'];
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
    for (const screen of SCREENS) await book(browser, screen);
    for (const screen of SCREENS) await players(browser, screen);
    for (const part of [plays, lists, own_journeys]) await part(browser).catch(error => check(part.name, 1, [error.message.split('\n')[0]]));
    await drawings(browser);
    await perfetto(browser);
    await browser.close();
    server.close();
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed ? 1 : 0;
}
main().catch(error => { console.error(error); process.exit(2); });
