# Answers 101 to who asks for an upgrade, and then echoes each line for as long as anybody listens; 200 to all others.
require "socket"

server = TCPServer.new("0.0.0.0", Integer(ARGV.fetch(0)))
loop do
  Thread.new(server.accept) do |client|
    head = +""
    while (line = client.gets) && line != "\r\n"
      head << line
    end
    if head.match?(/^upgrade:/i)
      client.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
      while (line = client.gets)
        client.write(line)
      end
    else
      client.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    end
  rescue SystemCallError
    # The other side is gone.
  ensure
    client.close
  end
end
