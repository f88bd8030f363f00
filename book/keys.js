// What is wider than the page scrolls by itself.  Here the Tab key reaches it in every browser, and
// the arrow keys then scroll it: mdBook would turn the page.
const sizes = new ResizeObserver(changes => {
    for (const { target } of changes)
        if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
        else target.removeAttribute('tabindex');
});
document.fonts.ready.then(() => {
    for (const block of document.querySelectorAll('.content pre > code, .content .table-wrapper')) {
        sizes.observe(block); // once at the beginning, and when a window or a <details> changes
        block.addEventListener('keydown', event => {
            if (block.hasAttribute('tabindex') && /^Arrow(Left|Right)$/.test(event.key)) event.stopPropagation();
        });
    }
});

// A link to a line of a closed <details> opens it, because not every browser does so by itself.
const reveal = () => {
    const line = document.querySelector('details:not([open]) :target');
    if (line === null) return;
    line.closest('details').open = true;
    line.scrollIntoView();
};
addEventListener('hashchange', reveal);
reveal();
