#!/usr/bin/env python3
"""drops.py NIC: lose packets in several ways, and then replace this process with `NIC drops lo`.

It runs as root in a network namespace of its own, in which every counter begins at 0:
    unshare -n python3 tests/programs/drops.py 07-nic-to-app/nic
Each packet below is written to lo as a frame, so that it takes the way of a received one.
"""
import os
import socket
import struct
import subprocess
import sys

HOST = '127.0.0.1'


def checksum(data):
    words = sum(struct.unpack('!%dH' % ((len(data) + 1) // 2), data + b'\0' * (len(data) % 2)))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def ip_packet(payload, to=HOST, protocol=6, wrong=0):
    """An IPv4 packet; its checksum is wrong by `wrong`."""
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(HOST), socket.inet_aton(to))
    return head[:10] + struct.pack('!H', checksum(head) + wrong & 0xFFFF) + head[12:] + payload


def segment(data, wrong=0):
    """A TCP segment with a checksum that is wrong by `wrong`, from one without."""
    data = data[:16] + b'\0\0' + data[18:]
    pseudo = socket.inet_aton(HOST) * 2 + struct.pack('!HH', 6, len(data))
    return data[:16] + struct.pack('!H', checksum(pseudo + data) + wrong & 0xFFFF) + data[18:]


def main(nic):
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    # Packets with our own addresses are accepted from the wire, and packets for others are not forwarded.
    for setting, value in ('conf/lo/route_localnet', '1'), ('conf/lo/accept_local', '1'), ('ip_forward', '0'):
        with open('/proc/sys/net/ipv4/' + setting, 'w') as file:
            file.write(value)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind(('lo', 0x0800))
    wire.settimeout(5)

    def receive(packet):  # as if it came from the network
        wire.send(b'\0' * 12 + b'\x08\x00' + packet)

    # An old segment: the first one with data, sent again.
    listener = socket.create_server((HOST, 0), backlog=0)
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b'hello')
    server.recv(5)
    while True:
        frame = wire.recv(2000)
        if frame.endswith(b'hello'):
            break
    receive(ip_packet(segment(frame[34:])))

    # A full accept queue: nobody calls accept() for these.
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(listener.getsockname())

    ack = struct.pack('!HHIIBBHHH', 9, 9, 1, 1, 0x50, 0x10, 100, 0, 0)  # of no connection
    receive(ip_packet(segment(ack, wrong=1)))
    receive(ip_packet(segment(ack), wrong=1))
    receive(ip_packet(segment(ack), to='192.0.2.1'))
    receive(ip_packet(b'data', protocol=253))
    os.execv(nic, [nic, 'drops', 'lo'])


main(sys.argv[1])
