# Tells what the cached tree holds, in the bytes that its digest is made of: compressed, and as text.
cache=$own/cache/$p_tree
for file in names modes content; do
    [ -r "$cache/$file" ] || fail no_cache "$cache/$file cannot be read"
done
for tool in gzip base64 fold; do
    command -v "$tool" >/dev/null 2>&1 || fail no_cache "$tool is not installed"
done
cat "$cache/names" "$cache/modes" "$cache/content" | gzip -c | base64 | tr -d '\n' | fold -w 4000 |
    sed "s/^/@pitcrew:$nonce listing /"
# The last line lacks its newline with some tools, and an empty one is no answer.
echo
finish
