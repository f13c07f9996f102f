root = ENV.fetch("APP_ROOT")
# The link and not the release it points to, so that USR2 starts the new release.
working_directory "#{root}/current"
pid "#{root}/shared/tmp/pids/unicorn.pid"
stderr_path "#{root}/shared/log/unicorn.log"
stdout_path "#{root}/shared/log/unicorn.log"
listen Integer(ENV.fetch("APP_PORT")), backlog: 256
worker_processes 2
preload_app true
timeout 30

before_fork do |server, worker|
  old = "#{server.config[:pid]}.oldbin"
  if server.pid != old && File.exist?(old)
    begin
      Process.kill(worker.nr + 1 >= server.worker_processes ? :QUIT : :TTOU, File.read(old).to_i)
    rescue Errno::ENOENT, Errno::ESRCH
      # The old master is gone already.
    end
  end
end
