# SPDX-License-Identifier: Apache-2.0
"""Moves bytes between places of a lab and says whether they arrived whole.

    transfer.py serve PORT                       answers every TCP stream and UDP datagram with "SIZE CRC32"
    transfer.py tcp HOST PORT BYTES              one stream
    transfer.py datagram HOST PORT SIZE COUNT    one datagram at a time
    transfer.py segment HOST PORT SIZE COUNT     COUNT datagrams in one UDP_SEGMENT send (udp(7))

A sender prints "whole" and how much it was, or what was wrong; its exit code says the same.
"""

import os
import socket
import sys
import threading
import zlib

UDP_SEGMENT = 103  # include/uapi/linux/udp.h
CHUNK = 1 << 20


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def summary(data, crc=0):
    return zlib.crc32(data, crc)


def serve_stream(connection):
    size = crc = 0
    buffer = memoryview(bytearray(CHUNK))
    while count := connection.recv_into(buffer):
        crc = summary(buffer[:count], crc)
        size += count
    connection.sendall(f"{size} {crc}".encode())
    connection.close()


def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    datagrams.bind(("::", port))

    def answer_datagrams():
        while True:
            data, sender = datagrams.recvfrom(65536)
            datagrams.sendto(f"{len(data)} {summary(data)}".encode(), sender)

    threading.Thread(target=answer_datagrams, daemon=True).start()
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_stream, args=(connection,), daemon=True).start()


def send_stream(host, port, size):
    connection = socket.create_connection((host, port), timeout=60)
    chunk = os.urandom(CHUNK)
    left, crc = size, 0
    while left:
        part = chunk[: min(left, CHUNK)]
        crc = summary(part, crc)
        connection.sendall(part)
        left -= len(part)
    connection.shutdown(socket.SHUT_WR)
    return [connection.recv(100).decode()] == [f"{size} {crc}"]


def udp_socket(host, port):
    datagrams = socket.socket(family(host), socket.SOCK_DGRAM)
    datagrams.settimeout(5)
    datagrams.connect((host, port))
    return datagrams


def send_datagrams(host, port, size, count):
    datagrams = udp_socket(host, port)
    for _ in range(count):
        data = os.urandom(size)
        datagrams.send(data)
        if datagrams.recv(100).decode() != f"{size} {summary(data)}":
            return False
    return True


def send_segments(host, port, size, count):
    datagrams = udp_socket(host, port)
    datagrams.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    data = os.urandom(size * count)
    datagrams.send(data)
    expected = sorted(f"{size} {summary(data[at:at + size])}" for at in range(0, len(data), size))
    return sorted(datagrams.recv(100).decode() for _ in expected) == expected


def main(kind, *arguments):
    if kind == "serve":
        serve(int(arguments[0]))
    host, *numbers = arguments
    send = {"tcp": send_stream, "datagram": send_datagrams, "segment": send_segments}[kind]
    whole = send(host, *map(int, numbers))
    print("whole" if whole else "not whole", *numbers[1:])
    return 0 if whole else 1


sys.exit(main(*sys.argv[1:]))
