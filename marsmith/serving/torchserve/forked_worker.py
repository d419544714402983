"""What TorchServe starts instead of Python: a worker that `fork_server.py` forks, or Python.

TorchServe watches this process, reads what the worker prints to its files, and kills it: the fork
server then kills the worker. Its first argument is the fork server's socket. It imports nothing of
ours, and little else: one of these is beside each worker.
"""

import json
import os
import socket
import sys

WORKER = "model_service_worker.py"


def main() -> int:
    """Be the worker's stand-in until it ends; where none was forked, become Python."""
    path, arguments = sys.argv[1], sys.argv[2:]
    asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
    begun, status = False, b""
    try:
        if not arguments[0].endswith(WORKER):
            raise OSError("nothing is prepared for it")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(path)
        socket.send_fds(server, [b" "], [0, 1, 2])
        server.sendall(json.dumps(asked).encode() + b"\n")
        begun = bool(server.recv(1))
        if begun:
            for file in (0, 1, 2):
                os.close(file)  # whoever reads them is to see the worker's end
            with open("/proc/self/comm", "w", encoding="ascii") as name:  # noqa: PTH123
                name.write("stand-in")
        while begun and not status.endswith(b"\n"):
            more = server.recv(64)
            if not more:
                return 1  # the fork server has ended, and its workers with it
            status += more
    except OSError:
        if begun:
            return 1
    if not begun:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    return os.waitstatus_to_exitcode(int(status)) % 256


if __name__ == "__main__":
    # Without finalising: there is nothing to flush, and its files are closed.
    os._exit(main())
