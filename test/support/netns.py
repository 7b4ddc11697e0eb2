# SPDX-License-Identifier: Apache-2.0
"""Sockets in other network namespaces, held by one process: what they see has one clock. Root only."""

import ctypes
import os
import socket
import time

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
home = os.open("/proc/self/ns/net", os.O_RDONLY)


def enter(netns):
    if libc.setns(netns, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def socket_in(path, *kind):
    """A non-blocking socket of the network namespace at `path`."""
    there = os.open(path, os.O_RDONLY)
    try:
        enter(there)
        made = socket.socket(*kind)
    finally:
        enter(home)
        os.close(there)
    made.setblocking(False)
    return made


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def try_send(sock, payload, address, port):
    """Errors are what is expected: no address yet, no route, a full queue."""
    try:
        sock.sendto(payload, (address, port))
    except OSError:
        pass


def now_us():
    return time.monotonic_ns() // 1000
