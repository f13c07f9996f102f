root = ENV.fetch("APP_ROOT")
# The link and not the release it points to, so that a phased restart starts the new release.
directory "#{root}/current"
pidfile "#{root}/shared/tmp/pids/puma.pid"
state_path "#{root}/shared/tmp/pids/puma.state"
activate_control_app "unix://#{root}/shared/tmp/sockets/pumactl.sock", no_token: true
bind "tcp://0.0.0.0:#{ENV.fetch("APP_PORT")}"
threads 1, 4
workers 2
prune_bundler false
stdout_redirect "#{root}/shared/log/puma.log", "#{root}/shared/log/puma.log", true
# Else a worker that makes way closes connections on which no request has arrived yet, without an answer (Puma 5.6).
queue_requests false
