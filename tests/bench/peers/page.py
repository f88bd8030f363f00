#!/usr/bin/env python3
"""The four echo servers of the Python page, written anew: page.py select|poll|epoll|selectors PORT

Each makes the calls that the page's server makes, and keeps its habits, good or bad, because the
habits are what `make bench` measures.  They stand beside the line that has them:

  H1  one recv(1024) for each event, so a large message takes many turns
  H2  what send() returns is not looked at, so a short write loses bytes
  H3  answer in a second event: wait for room first, which doubles the waits
  H4  two modify() for each message, to wait for room and to wait for bytes again
  H5  an exception is not caught, so one RST ends the server
  H6  a short backlog: listen(5), listen(10)
  H7  the wait gives up after a second, and begins again
  H8  three tables and a function for each event, where one table would do
"""
import select
import selectors
import socket
import sys


def listen_on(port, backlog, blocking):
    """What all four begin with."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(blocking)
    sock.bind(("127.0.0.1", port))
    sock.listen(backlog)  # H6
    return sock


def serve_select(port):
    listener = listen_on(port, 5, True)
    reading, writing, owed = [listener], [], {}
    while True:
        readable, writable, _ = select.select(reading, writing, [])
        for sock in readable:
            if sock is listener:
                reading.append(sock.accept()[0])
                continue
            data = sock.recv(1024)  # H1, H5
            if data:
                owed[sock.fileno()] = data
                writing.append(sock)  # H3
            else:
                reading.remove(sock)
                sock.close()
        for sock in writable:
            data = owed.pop(sock.fileno(), None)
            if data:
                sock.send(data)  # H2
            writing.remove(sock)


def serve_registered(port, poller, wait, bits):
    """poll and epoll: the page's two servers differ in the names only."""
    can_read, can_write = bits
    listener = listen_on(port, 10, False)
    clients, asking, owed = {}, {}, {}  # H8

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
            owed[fd] = data
            poller.modify(fd, can_write)  # H3, H4
        else:
            poller.unregister(fd)
            client.close()
            clients.pop(fd, None)

    def send(fd):
        client, data = clients.get(fd), owed.pop(fd, None)
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
            sock.send(data)  # H2: the socket blocks, so one slow client stops all
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
