// tests/browser/look.js FOLDER: the part of tests/browser/run that needs a browser.  FOLDER has book,
// empty, made and perfetto.  A server on 127.0.0.1 gives out all four; no other host is asked.
'use strict';
const fs = require('fs'), http = require('http'), path = require('path');
const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', wasm: 'application/wasm' };
// A phone, which likes dark colours, so that both themes are seen; and a desk.
const SCREENS = [{ width: 390, colorScheme: 'dark' }, { width: 1280, colorScheme: 'light' }];
const SCROLLERS = 'pre > code, .table-wrapper'; // these may be wider than the page
const file = (...names) => path.join(process.argv[2], ...names);
const files = (folder, end) => fs.readdirSync(file(folder)).filter(name => name.endsWith(end));

let passed = 0, failed = 0, base;
// One check: how many things it looked at, and what is wrong.  To have seen nothing is wrong too.
function check(name, seen, wrong) {
    if (seen === 0) wrong = ['there is nothing to look at'];
    console.log([`${wrong.length ? ' ✗' : ' ✓'} ${name} (${seen})`, ...new Set(wrong)].slice(0, 25).join('\n     '));
    if (wrong.length) failed++; else passed++;
}

// The book is at the root, where its page 404.html expects it; the others are in folders.
const server = http.createServer((request, response) => {
    let name = new URL(request.url, base).pathname.replace(/\/$/, '/index.html');
    if (!/^\/(empty|made|perfetto)\//.test(name)) name = `/book${name}`;
    fs.readFile(file(decodeURIComponent(name)), (error, bytes) => {
        response.writeHead(error ? 404 : 200, { 'content-type': TYPES[name.split('.').pop()] || 'application/octet-stream' });
        response.end(bytes);
    });
});

// ---- the book ----

// Runs in the page, and says what is in it.
async function inspect(scrollers) {
    for (const details of document.querySelectorAll('details')) details.open = true;
    await document.fonts.ready;
    const late = () => [...document.querySelectorAll(scrollers)].some(e => e.scrollWidth > e.clientWidth && !e.hasAttribute('tabindex'));
    for (let tries = 0; tries < 20 && late(); tries++) await new Promise(again => setTimeout(again, 50)); // book/keys.js hears of it
    const main = document.querySelector('main'), root = document.scrollingElement;
    const wide = [...main.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.parentElement.closest(scrollers));
    const { violations } = await axe.run(document, { resultTypes: ['violations'] });
    return {
        wide: [...wide.map(e => `sticks out: ${e.outerHTML.slice(0, 60)}`),
            ...[root, main].filter(e => e.scrollWidth > e.clientWidth).map(e => `<${e.localName}>: ${e.scrollWidth} px in ${e.clientWidth}`)],
        images: [...document.images].map(image => [image.src, image.complete && image.naturalWidth > 0]),
        links: [...document.querySelectorAll('a[href]')].map(a => a.href),
        ids: [...document.querySelectorAll('[id]')].map(e => e.id),
        // where: in what we wrote, or in mdBook's frame around it
        axe: violations.flatMap(({ id, nodes }) => nodes.map(node =>
            [`${id} ${main.contains(document.querySelector(node.target[0])) ? 'in the text' : 'around it'}`, node.html.slice(0, 60)])),
    };
}

// With the focus on what scrolls, an arrow key scrolls it.  By itself mdBook turns the page.
async function arrow_key_scrolls(page) {
    const block = page.locator(`:is(${SCROLLERS})[tabindex]`).first();
    await block.press('ArrowRight', { timeout: 5000 });
    await page.waitForFunction(() => document.activeElement?.scrollLeft > 0, null, { timeout: 5000 });
}

async function book(browser, screen) {
    const page = await browser.newPage({ viewport: { width: screen.width, height: 844 }, colorScheme: screen.colorScheme });
    // not toc.html, which is a part of pages; and not 404.html, in which no word is ours
    const names = files('book', '.html').filter(name => !/^(toc|404)/.test(name));
    const broken = [], wide = [], images = [], links = [], axe = [], keys = [], ids = new Map(), known = new Set();
    for (const name of ['empty/index.html', ...names]) {
        const say = (list, what) => list.push(`${name}: ${what}`);
        page.on('pageerror', error => say(broken, error.message));
        page.on('requestfailed', request => request.url().startsWith(base) && request.failure().errorText !== 'net::ERR_ABORTED' &&
            say(broken, `${request.url()}: ${request.failure().errorText}`)); // aborted: the browser has changed its mind
        page.on('response', response => response.status() >= 400 && say(broken, `${response.url()}: ${response.status()}`));
        await page.goto(`${base}/${name}`);
        await page.evaluate(AXE);
        const seen = await page.evaluate(inspect, SCROLLERS);
        if (name === '07-nic-to-app.html') await arrow_key_scrolls(page).catch(error => say(keys, error.message.split('\n')[0]));
        page.removeAllListeners();
        if (name.startsWith('empty/')) {
            seen.axe.forEach(([rule]) => known.add(rule));
            continue;
        }
        seen.axe.filter(([rule]) => !known.has(rule)).forEach(violation => say(axe, violation.join(': ')));
        seen.wide.forEach(what => say(wide, what));
        seen.links.filter(to => to.startsWith(base)).forEach(to => links.push([name, new URL(to)]));
        seen.images.forEach(image => images.push(image));
        ids.set(`/${name}`, new Set(seen.ids));
    }
    ids.set('/', ids.get('/index.html'));
    const dead = links.filter(([, to]) => !ids.has(to.pathname) || (to.hash && !ids.get(to.pathname).has(decodeURIComponent(to.hash.slice(1)))));
    const at = `the book at ${screen.width} px, ${screen.colorScheme}:`;
    check(`${at} no script error, no failed request`, names.length, broken);
    check(`${at} only code and tables are wider than the page`, names.length, wide);
    check(`${at} the arrow keys scroll them`, 1, keys);
    check(`${at} every image is loaded`, images.length, images.filter(([, loaded]) => !loaded).map(([src]) => src));
    check(`${at} every link leads to a page and an anchor`, links.length, dead.map(([name, to]) => `${name}: ${to.pathname}${to.hash}`));
    check(`${at} axe finds nothing that it does not find in an empty page`, names.length, axe);
    await page.close();
}

// ---- the drawings ----

// Runs in the drawing, as wide as a phone.  A word is what has a place: a <text>, or a <tspan> in it.
function crowded() {
    const svg = document.documentElement, view = svg.viewBox?.baseVal, height = view && 390 * view.height / view.width;
    if (!height) return ['it has no viewBox'];
    svg.style.cssText = `width:390px;height:${height}px;max-width:none;max-height:none;margin:0`;
    const frame = svg.getBoundingClientRect();
    const words = [...svg.querySelectorAll('text, tspan')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
        .map(e => [e.textContent.trim(), e.getBoundingClientRect()]);
    const both = (a, b) => [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
    const inside = ([, box]) => both(box, frame).every((size, i) => size > [box.width, box.height][i] - 1);
    const wrong = words.filter(word => !inside(word)).map(([said]) => `"${said}" leaves the drawing`);
    words.forEach(([said, box], i) => words.slice(i + 1).filter(([, other]) => both(box, other).every(size => size > 2))
        .forEach(([other]) => wrong.push(`"${said}" and "${other}" overlap`)));
    return words.length ? wrong : ['it has no words'];
}

async function drawings(browser) {
    const page = await browser.newPage({ viewport: { width: 390, height: 844 } });
    for (const [what, folder, at] of [['the drawings of the book', 'book/images', 'images'], ['a fresh --svg of each recording', 'made', 'made']]) {
        const wrong = [];
        for (const name of files(folder, '.svg')) {
            await page.goto(`${base}/${at}/${name}`);
            wrong.push(...(await page.evaluate(crowded)).map(line => `${name}: ${line}`));
        }
        check(`${what}, at 390 px: no word leaves it or covers another`, files(folder, '.svg').length, wrong);
    }
}

// ---- Perfetto ----

// Runs in Perfetto's page, and asks what it has loaded.
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

// How many slices a JSON has, and what is wrong: by itself, and when Perfetto loads it.
async function recording(page, name) {
    const events = JSON.parse(fs.readFileSync(file('made', `${name}.json`))).traceEvents, chains = new Map(), errors = [];
    const wrong = events.filter(event => !'MXstf'.includes(event.ph)).map(event => `an unknown phase: ${event.ph}`);
    for (const event of events) if ('stf'.includes(event.ph)) chains.set(event.id, [...chains.get(event.id) || [], event]);
    for (const [id, chain] of chains) {
        const phases = chain.sort((a, b) => a.ts - b.ts).map(event => event.ph).join('');
        if (!/^st*f$/.test(phases)) wrong.push(`the arrow of packet ${id} goes ${phases}`);
    }
    page.removeAllListeners();
    await page.goto('about:blank'); // else only what stands behind the # would change
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(`${base}/perfetto/#!/?url=${encodeURIComponent(`${base}/made/${name}.json`)}`);
    const loaded = await page.waitForFunction(() => window.app?.trace?.engine, null, { timeout: 20000 }).catch(() => null);
    if (!loaded) return [1, [...wrong, `Perfetto does not load it: ${errors.join('; ')}`]];
    const seen = await page.evaluate(ask), slices = events.filter(event => event.ph === 'X').length;
    const arrows = [...chains.values()].reduce((sum, chain) => sum + chain.length - 1, 0); // from each slice of a packet to its next
    if (seen.slices.length !== slices) wrong.push(`Perfetto has ${seen.slices.length} slices, and the JSON ${slices}`);
    if (seen.arrows.length !== arrows) wrong.push(`Perfetto has ${seen.arrows.length} arrows, and the JSON ${arrows}`);
    // An event of a recording begins: time, CPU, thread.  The last one is that the server has read.
    const text = fs.readFileSync(file('made', `${name}.txt`), 'utf8');
    const cpus = [...text.matchAll(/^\d+ (\d+) \d+ t (sys_exit_re|recvmsg_re)/gm)].map(match => `cpu${match[1]}`);
    if (!cpus.length) wrong.push('no CPU in the recording');
    for (const cpu of cpus) if (!seen.threads.includes(cpu)) wrong.push(`Perfetto has no track ${cpu}`);
    return [slices, [...wrong, ...seen.errors.map(error => `Perfetto says: ${error}`)]];
}

async function perfetto(browser) {
    const page = await browser.newPage({ viewport: { width: 640, height: 360 }, serviceWorkers: 'block' });
    for (const name of files('made', '.json')) {
        const result = await recording(page, name.slice(0, -5)).catch(error => [1, [error.message]]);
        check(`Perfetto loads ${name}, its slices and arrows`, ...result);
    }
}

async function main() {
    await new Promise(ready => server.listen(0, '127.0.0.1', ready));
    base = `http://127.0.0.1:${server.address().port}`;
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
        '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'];
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
    for (const screen of SCREENS) await book(browser, screen);
    await drawings(browser);
    await perfetto(browser);
    await browser.close();
    server.close();
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed ? 1 : 0;
}
main().catch(error => { console.error(error); process.exit(2); });
