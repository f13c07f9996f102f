# As config.ru, for Python: says which release and server answers; BROKEN and SICK in the release make it so.
import json, os, socket, time

here = os.path.dirname(os.path.realpath(__file__))


def read(name):
    try:
        with open(os.path.join(here, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def flagged(name):
    return read(name) in ("", socket.gethostname())


time.sleep(float(read("BOOT_SLEEP") or 0))
if flagged("BROKEN"):
    raise RuntimeError("boom at boot")
release = read("REVISION")
status = "500 Internal Server Error" if flagged("SICK") else "200 OK"


def app(environ, start_response):
    body = (json.dumps({"release": release, "pid": os.getpid(), "host": socket.gethostname()}) + "\n").encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
