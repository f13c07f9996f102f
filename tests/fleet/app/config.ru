# Says which release, process and server answers. Its behaviour lies in files of the release:
#   BOOT_SLEEP  seconds its boot takes (a Rails boot takes that long, too)
#   BROKEN      it fails to boot;  SICK  it answers 500.  Either may name one host; empty means all.
# /slow?0.5 takes that long.
require "socket"

HERE = File.dirname(File.realpath(__FILE__))
RELEASE = (File.read(File.join(HERE, "REVISION")).strip rescue File.basename(HERE))
HOST = Socket.gethostname

def flagged?(name)
  file = File.join(HERE, name)
  File.exist?(file) && ["", HOST].include?(File.read(file).strip)
end

sleep((File.read(File.join(HERE, "BOOT_SLEEP")) rescue "0").to_f)
raise "boom at boot" if flagged?("BROKEN")
sick = flagged?("SICK")

run lambda { |env|
  sleep(env["QUERY_STRING"].to_f) if env["PATH_INFO"] == "/slow"
  body = %({"release":"#{RELEASE}","pid":#{Process.pid},"host":"#{HOST}"}\n)
  [sick ? 500 : 200, { "Content-Type" => "application/json", "Content-Length" => body.bytesize.to_s }, [body]]
}
