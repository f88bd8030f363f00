#!/usr/bin/env python3
"""The first echo server that many people write: it serves one client at a time."""
import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, address = listener.accept()
    print("client", address)
    while True:
        data = client.recv(4096)
        if not data:
            break
        client.sendall(data)
    client.close()
