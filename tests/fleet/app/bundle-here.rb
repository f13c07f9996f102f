# As `bundle install --path vendor/bundle` where no gem can be fetched: copies the machine's gems, and builds the repository's own.
require "fileutils"
dest = "vendor/bundle/ruby/#{Gem.ruby_api_version}"
%w[gems specifications].each { |d| FileUtils.mkdir_p("#{dest}/#{d}") }
wanted = ARGV.dup
until wanted.empty?
  spec = Gem::Specification.find_by_name(wanted.shift)
  next if File.exist?("#{dest}/specifications/#{spec.full_name}.gemspec")
  wanted.concat(spec.runtime_dependencies.map(&:name))
  FileUtils.cp_r(spec.full_gem_path, "#{dest}/gems/#{spec.full_name}") if File.directory?(spec.full_gem_path)
  # What was compiled lies apart.
  FileUtils.cp_r("#{spec.extension_dir}/.", "#{dest}/gems/#{spec.full_name}/lib") if File.directory?(spec.extension_dir)
  spec.extensions.clear
  File.write("#{dest}/specifications/#{spec.full_name}.gemspec", spec.to_ruby)
end
own = Gem::Specification.load("engines/hello/hello.gemspec")
FileUtils.cp_r("engines/hello", "#{dest}/gems/#{own.full_name}")
File.write("#{dest}/specifications/#{own.full_name}.gemspec", own.to_ruby)
FileUtils.mkdir_p(".bundle")
File.write(".bundle/config", "---\nBUNDLE_PATH: \"vendor/bundle\"\n")
