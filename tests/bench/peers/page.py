#!/usr/bin/env python3
"""The four echo servers of the Python page, rewritten.  Usage: page.py KIND PORT, where KIND is
select, poll, epoll or selectors.

Each makes the same system calls as the page's server and keeps its habits, good or bad, because
`make bench` measures what they cost.  A comment marks each line that has one of these habits:

  H1  one recv(1024) for each event, so a large message needs many events
  H2  the result of send() is ignored, so a short write loses bytes
  H3  the server waits for writability before each reply, which doubles the number of waits
  H4  two modify() calls for each message: one to wait for writability, one to wait for input again
  H5  an exception is not caught, so one RST ends the server
  H6  the backlog is short: listen(5), listen(10)
  H7  the wait times out after a second and is repeated
  H8  three tables of clients, although one would be enough
"""
import select
import selectors
import socket
import sys


def listen_on(port, backlog, blocking):
    """Return a listening socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(blocking)
    sock.bind(("127.0.0.1", port))
    sock.listen(backlog)  # H6
    return sock


def serve_select(port):
    listener = listen_on(port, 5, True)
    reading, writing, pending = [listener], [], {}
    while True:
        readable, writable, _ = select.select(reading, writing, [])
        for sock in readable:
            if sock is listener:
                reading.append(sock.accept()[0])
                continue
            data = sock.recv(1024)  # H1, H5
            if data:
                pending[sock.fileno()] = data
                writing.append(sock)  # H3
            else:
                reading.remove(sock)
                sock.close()
        for sock in writable:
            data = pending.pop(sock.fileno(), None)
            if data:
                sock.send(data)  # H2
            writing.remove(sock)


def serve_registered(port, poller, wait, bits):
    """The poll and epoll servers of the page, which differ only in names."""
    can_read, can_write = bits
    listener = listen_on(port, 10, False)
    clients, asking, pending = {}, {}, {}  # H8

    def accept():
        client = listener.accept()[0]
        client.setblocking(False)
        fd = client.fileno()
        poller.register(fd, can_read)
        clients[fd] = asking[fd] = client

    def recv(fd):
        client = asking.pop(fd, None)
        if not client:
            return
        data = client.recv(1024)  # H1, H5
        if data:
            pending[fd] = data
            poller.modify(fd, can_write)  # H3, H4
        else:
            poller.unregister(fd)
            client.close()
            clients.pop(fd, None)

    def send(fd):
        client, data = clients.get(fd), pending.pop(fd, None)
        if client and data:
            client.send(data)  # H2
            asking[fd] = client
            poller.modify(fd, can_read)  # H4

    poller.register(listener.fileno(), can_read)
    while True:
        for fd, event in poller.poll(wait):  # H7
            if fd == listener.fileno():
                accept()
            elif event & can_read:
                recv(fd)
            elif event & can_write:
                send(fd)


def serve_selectors(port):
    selector = selectors.DefaultSelector()
    listener = listen_on(port, 10, True)

    def accept(sock):
        selector.register(sock.accept()[0], selectors.EVENT_READ, read)

    def read(sock):
        data = sock.recv(1024)  # H1, H5
        if data:
            sock.send(data)  # H2; the socket is blocking, so one slow client blocks all
        else:
            selector.unregister(sock)
            sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    while True:
        for key, _ in selector.select():
            key.data(key.fileobj)


def main():
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "select":
        serve_select(port)
    elif kind == "poll":
        serve_registered(port, select.poll(), 1000, (select.POLLIN, select.POLLOUT))
    elif kind == "epoll":
        serve_registered(port, select.epoll(), 1, (select.EPOLLIN, select.EPOLLOUT))
    elif kind == "selectors":
        serve_selectors(port)
    else:
        sys.exit("page.py: select, poll, epoll or selectors")


if __name__ == "__main__":
    main()
