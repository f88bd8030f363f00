# Three ends of a connection, as sequence diagrams: time runs downwards.  The states are those that ss(8) shows.
BEGIN {
    CLIENT = 104; SERVER = 256
    start(614, "How a connection ends: FIN from each side, and TIME_WAIT for the side that sent the first; or RST, which discards data")
    panel(10, 186, "FIN: the client closes its direction first")
    at_client(74, "shutdown()"); message(74, 1, "FIN", ""); at_server(88, "recv(): 0")
    at_server(114, "send()"); message(108, -1, "the rest", "bytes")
    at_server(142, "close()"); message(138, -1, "FIN", ""); at_client(156, "recv(): 0")
    wait_state(154, CLIENT); at_client(176, "TIME_WAIT", "new")
    panel(214, 144, "RST: the server closes with bytes unread")
    at_client(278, "send()"); message(274, 1, "5 bytes", "bytes"); at_server(292, "not read")
    at_server(320, "close()"); message(316, -1, "RST", "new thick"); at_client(334, "recv():"); at_client(350, "ECONNRESET", "new")
    panel(376, 186, "FIN: the server closes first")
    at_server(440, "close()"); message(436, -1, "FIN", ""); at_client(452, "recv(): 0")
    at_client(476, "close()"); message(472, 1, "FIN", "")
    wait_state(488, SERVER); at_server(506, "TIME_WAIT", "new"); at_server(524, "a new bind():"); at_server(542, "EADDRINUSE", "new")
    box(10, 575, 14, 12, "new cell"); text(30, 585.5, "TIME_WAIT lasts a minute on Linux. With", "small")
    text(30, 602, "SO_REUSEADDR, bind() works meanwhile.", "small")
    finish()
}
function panel(y, height, title) {
    box(10, y, 340, height, "panel")
    text(18, y + 19, title, "bold")
    text(CLIENT, y + 42, "client", "middle small muted"); text(SERVER, y + 42, "server", "middle small muted")
    line(CLIENT, y + 48, CLIENT, y + height - 8, "muted"); line(SERVER, y + 48, SERVER, y + height - 8, "muted")
}
function message(y, to_server, label, words) {
    arrow(to_server > 0 ? CLIENT : SERVER, y - 4, to_server > 0 ? SERVER : CLIENT, y + 10, words)
    text((CLIENT + SERVER) / 2, y - 3, label, "middle small " words)
}
function at_client(y, s, words) { text(CLIENT - 8, y, s, "small end " words) }
function at_server(y, s, words) { text(SERVER + 8, y, s, "small " words) }
function wait_state(y, x) { box(x - 4, y, 8, x == CLIENT ? 36 : 64, "new cell") }
