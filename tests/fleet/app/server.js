// As config.ru, for Node: says which release and server answers; BROKEN and SICK in the release make it so, and with DYING it
// ends after so many seconds, without ever having listened.
// Listens on the socket that systemd hands over, or on APP_PORT.
const fs = require("fs"), http = require("http"), os = require("os"), path = require("path");

const here = fs.realpathSync(__dirname);
const read = (name) => { try { return fs.readFileSync(path.join(here, name), "utf8").trim(); } catch { return null; } };
const flagged = (name) => ["", os.hostname()].includes(read(name));

if (flagged("BROKEN")) throw new Error("boom at boot");
const sick = flagged("SICK");
const release = read("REVISION");
const server = http.createServer((request, response) => {
  const body = JSON.stringify({ release, pid: process.pid, host: os.hostname() }) + "\n";
  response.writeHead(sick ? 500 : 200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
});
const dying = read("DYING");
if (dying !== null) setTimeout(() => process.exit(1), Number(dying) * 1000);
else setTimeout(() => {
  server.listen(process.env.LISTEN_FDS ? { fd: 3 } : { port: Number(process.env.APP_PORT), host: "0.0.0.0" });
}, Number(read("BOOT_SLEEP") || 0) * 1000);
process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
