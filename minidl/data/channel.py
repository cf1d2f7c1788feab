"""Values from process to process: arrays through shared memory, and only small messages through a socket.

A value is written to a file in memory that has no name, and the file's descriptor goes over a Unix socket.
When the last descriptor is closed, by whatever end a process comes to, the memory is free: nothing is left.

    send:     value -> pickle, and its arrays aside -> file in memory -> descriptor -> socket
    receive:  socket -> descriptor -> mapping -> pickle, and arrays -> value

Source: arrays aside, Pitrou 2018, "Pickle protocol 5 with out-of-band data", PEP 574; files without a name
and descriptors in messages, the Linux manual, memfd_create(2) and unix(7).
"""
import io
import mmap
import os
import socket
import struct
from multiprocessing.reduction import ForkingPickler

import numpy as np

_ALIGNMENT = 64                                        # of arrays in the file, in bytes: a cache line
_MESSAGE = struct.Struct("q")                          # where in the file the pickle begins


class Parcel:
    """A value, written to a file in memory: ready to be sent, to several receivers if need be.

    Args:
        value: anything that multiprocessing can send; else it raises, errors of many types.
    """

    def __init__(self, value):
        self.file, self.spans = open(os.memfd_create("minidl"), "wb"), []
        head = io.BytesIO()
        ForkingPickler(head, 5, True, self._put_aside).dump(value)
        self.start = self.file.tell()
        self.file.write(ForkingPickler.dumps((head.getvalue(), self.spans)))
        self.file.flush()

    def _put_aside(self, buffer):
        self.file.seek(-self.file.tell() % _ALIGNMENT, io.SEEK_CUR)
        self.spans.append((self.file.tell(), self.file.write(buffer.raw())))

    def send(self, sock):
        """Send it to the other end of a socket.

        Raises:
            ConnectionError: the receiver is gone.
        """
        socket.send_fds(sock, [_MESSAGE.pack(self.start)], [self.file.fileno()])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()


def receive(sock, share=False):
    """Wait for a parcel.

    Args:
        sock: a Unix socket.
        share: leave the arrays in the memory that all receivers share? (What one of them writes, the others
            do not see.)  That costs a descriptor for as long as an array lives, where a copy costs memory.

    Returns:
        the value.

    Raises:
        EOFError: the sender is gone.
        OSError: there is no descriptor left in this process.
    """
    message, descriptors, *_ = socket.recv_fds(sock, _MESSAGE.size, 1)
    if not message:
        raise EOFError("the other end of the socket is closed")
    if not descriptors:
        raise OSError("too many open files to receive one more")
    memory = memoryview(mmap.mmap(descriptors[0], 0, access=mmap.ACCESS_COPY))
    os.close(descriptors[0])
    head, spans = ForkingPickler.loads(memory[_MESSAGE.unpack(message)[0]:])
    arrays = [memory[start:start + size] for start, size in spans]
    return ForkingPickler.loads(head, buffers=arrays if share else map(np.array, arrays))
