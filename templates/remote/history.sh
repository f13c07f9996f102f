# Answers the end of revisions.log: who deployed what when.
if [ -f "$root/revisions.log" ] && [ -r "$root/revisions.log" ]; then
    tail -n 200 "$root/revisions.log" | while IFS= read -r line || [ -n "$line" ]; do say line "$line"; done
fi
finish
