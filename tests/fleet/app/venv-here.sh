#!/bin/sh
# As `python3 -m venv venv && venv/bin/pip install gunicorn .` where nothing can be fetched: the machine's Gunicorn, started by a
# script like pip's, and the repository's own module.
set -eu
python3 -m venv --system-site-packages --without-pip venv
cp hello.py venv/lib/python3*/site-packages/
cat >venv/bin/gunicorn <<X
#!$PWD/venv/bin/python
import sys
from gunicorn.app.wsgiapp import run
sys.exit(run())
X
chmod 755 venv/bin/gunicorn
