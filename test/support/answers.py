"""The world behind a test's host: a name server that knows one answer, and a greeter on port 7."""
import socket
import threading

names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("10.99.0.1", 53))
greeter = socket.create_server(("10.99.0.1", 7))


def greet():
    while True:
        peer, _ = greeter.accept()
        peer.sendall(b"hello\n")
        peer.close()


threading.Thread(target=greet, daemon=True).start()
while True:
    query, peer = names.recvfrom(512)
    # RFC 1035: the question repeated, then one address record that points back to its name.
    end = query.index(b"\0", 12) + 5
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + bytes([10, 99, 0, 9])
    names.sendto(query[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + query[12:end] + record, peer)
