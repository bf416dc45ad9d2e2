"""An SSH server made of paramiko, for ParamikoOptions in paramiko.go.

    paramiko_server.py PORT HOST_KEY_FILE AUTHORIZED_KEYS_FILE REPLY ADMIT_NONE

It lets in whoever has one of the keys, or everybody if ADMIT_NONE is true, connects what is opened to TCP targets,
listens for remote forwards, and treats keepalives, and
channels of types that it does not know, as REPLY says.
"""

import os
import select
import signal
import socket
import sys
import threading

import paramiko
from paramiko.common import MSG_CHANNEL_OPEN, MSG_GLOBAL_REQUEST, cMSG_UNIMPLEMENTED, cMSG_USERAUTH_SUCCESS

KEEPALIVE = "keepalive@openssh.com"
LATE = 2  # seconds

port, host_key_file, keys_file, reply, admit_none = sys.argv[1:]
host_key = paramiko.Ed25519Key(filename=host_key_file)
with open(keys_file) as f:
    authorized = {tuple(line.split()[:2]) for line in f}


def log(message):
    print(message, file=sys.stderr, flush=True)


def copy(read, write, end):
    """Copies until the end of what is read, and passes that on."""
    try:
        while data := read():
            write(data)
        end()
    except (OSError, EOFError):
        pass


def forward(channel, sock):
    """Copies both ways, and closes both when both have ended."""

    def up():
        copy(lambda: channel.recv(32768), sock.sendall, lambda: sock.shutdown(socket.SHUT_WR))

    thread = threading.Thread(target=up, daemon=True)
    thread.start()
    copy(lambda: sock.recv(32768), channel.sendall, channel.shutdown_write)
    thread.join()
    channel.close()
    sock.close()


class Server(paramiko.ServerInterface):
    def __init__(self, transport):
        self.transport = transport
        self.targets = {}
        self.listeners = {}

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_none(self, username):
        return paramiko.AUTH_SUCCESSFUL if admit_none == "true" else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        if (key.get_name(), key.get_base64()) in authorized:
            return paramiko.AUTH_SUCCESSFUL
        return paramiko.AUTH_FAILED

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        try:
            self.targets[chanid] = socket.create_connection(destination, timeout=10)
        except OSError as e:
            log(f"connecting to {destination}: {e}")
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        self.targets[chanid].settimeout(None)
        return paramiko.OPEN_SUCCEEDED

    def check_channel_request(self, kind, chanid):
        log(f"asked for a channel of type {kind}")
        self.transport.probed()
        if reply == "accept":
            return paramiko.OPEN_SUCCEEDED
        return paramiko.OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_port_forward_request(self, address, port):
        try:
            listener = socket.create_server((address or "127.0.0.1", port))
        except OSError as e:
            log(f"listening on {address}:{port}: {e}")
            return False
        port = listener.getsockname()[1]
        self.listeners[(address, port)] = listener
        threading.Thread(target=self.accept, args=(listener, address, port), daemon=True).start()
        return port

    def cancel_port_forward_request(self, address, port):
        listener = self.listeners.pop((address, port), None)
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def accept(self, listener, address, port):
        while True:
            try:
                sock, origin = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forwarded, args=(sock, origin, (address, port)), daemon=True).start()

    def forwarded(self, sock, origin, bound):
        try:
            channel = self.transport.open_forwarded_tcpip_channel(origin, bound)
        except paramiko.SSHException as e:
            log(f"forwarding from {origin}: {e}")
            sock.close()
            return
        forward(channel, sock)


class Transport(paramiko.Transport):
    """A transport that treats keepalives as reply says."""

    probes = 0
    dead = False

    def global_request(self, m):
        kind = m.get_text()
        m.rewind()
        if kind != KEEPALIVE:
            self.handle(MSG_GLOBAL_REQUEST, m)
            return
        log("received keepalive")
        if reply in ("ignore", "ignore-all"):
            return
        if reply == "unimplemented":
            answer = paramiko.Message()
            answer.add_byte(cMSG_UNIMPLEMENTED)
            answer.add_int(m.seqno)
            self._send_message(answer)
            return
        if reply == "late":
            self.later(MSG_GLOBAL_REQUEST, m)
            return
        self.probed()
        self.handle(MSG_GLOBAL_REQUEST, m)

    def channel_open(self, m):
        kind = m.get_text()
        m.rewind()
        if kind != "direct-tcpip" and reply == "ignore-all":
            log(f"ignored a channel of type {kind}")
        elif kind != "direct-tcpip" and reply == "late":
            self.later(MSG_CHANNEL_OPEN, m)
        else:
            self.handle(MSG_CHANNEL_OPEN, m)

    def probed(self):
        """Dies at the second probe, if that is what reply says."""
        self.probes += 1
        if reply == "once" and self.probes > 1:
            log("answering nothing from now on")
            self.dead = True
            select.select([], [], [])

    def handle(self, message, m):
        paramiko.Transport._handler_table[message](self, m)

    def later(self, message, m):
        def handle():
            try:
                self.handle(message, m)
            except (OSError, EOFError):
                pass  # the connection has ended

        threading.Timer(LATE, handle).start()

    def _send_message(self, data):
        if data.asbytes()[:1] == cMSG_USERAUTH_SUCCESS:
            log("Accepted publickey")  # before the client knows
        if not self.dead:
            super()._send_message(data)

    _handler_table = {
        **paramiko.Transport._handler_table,
        MSG_GLOBAL_REQUEST: global_request,
        MSG_CHANNEL_OPEN: channel_open,
    }


def serve(sock):
    transport = Transport(sock)
    transport.add_server_key(host_key)
    server = Server(transport)
    try:
        transport.start_server(server=server)
    except (OSError, EOFError, paramiko.SSHException) as e:
        log(f"key exchange: {e}")
        return
    while transport.is_active():
        channel = transport.accept(1)
        target = channel and server.targets.pop(channel.get_id(), None)
        if target:
            threading.Thread(target=forward, args=(channel, target), daemon=True).start()


# A process for each connection, as sshd has.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.create_server(("127.0.0.1", int(port)), backlog=128) as listener:
    log(f"Server listening on {port}")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(connection)
            os._exit(0)
        connection.close()
