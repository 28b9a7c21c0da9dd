#!/usr/bin/env bash
# A Python without the interpreter lock, built from Debian's source of it and kept; prints nothing but what goes wrong
# and, at the end, the path of its interpreter.
#
#     tests/freethreaded/build.sh [PREFIX]    default: ${XDG_CACHE_HOME:-~/.cache}/quantum_pulse/python3.13t
#
# The source comes through a mirror that apt already knows, by an apt configuration of its own: the machine's stays as
# it is. What apt checks (the archive's signature, then sums) is all the checking there is. Debian's patches are left
# out: they move where pip and its packages go. JOBS: how many compilers at once.
set -euo pipefail

prefix=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/quantum_pulse/python3.13t}
python=$prefix/bin/python3.13t
# Has the last Debian release with this Python; the archive keeps it.
suite=trixie
needed=(build-essential ca-certificates libbz2-dev libffi-dev liblzma-dev libncurses-dev libreadline-dev libsqlite3-dev
    libssl-dev pkg-config uuid-dev zlib1g-dev)

if test -x "$python"; then
    echo "$python"
    exit
fi
# The variables of a make that calls this one are not for Python's own makefile, which has some of the same name.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

# Beside the prefix: what is finished takes its place by one rename, so the prefix is whole or not there.
mkdir -p "$(dirname "$prefix")"
prefix=$(cd "$(dirname "$prefix")" && pwd)/$(basename "$prefix")
python=$prefix/bin/python3.13t
work=$(mktemp -d "$prefix.XXXXXX")
trap 'rm -rf "$work"' EXIT
log=$work/log
failed() {
    tail -n 50 "$log" >&2
    echo "build.sh: $1" >&2
    exit 1
}

echo "Python 3.13t is built into $prefix: once, some minutes" >&2
missing=()
for package in "${needed[@]}"; do
    dpkg-query --show --showformat '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed' ||
        missing+=("$package")
done
targets() { apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages'; }
if test ${#missing[@]} -gt 0 || test -z "$(targets)"; then
    apt-get -qq update >>"$log" 2>&1 || failed "apt-get update failed; it needs root"
fi
if test ${#missing[@]} -gt 0; then
    apt-get -qq install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
        failed "could not install ${missing[*]}; that needs root"
fi

mirror=$(targets | awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !found++ { print $4 }')
test -n "$mirror" || failed "apt knows no mirror of Debian"
mkdir -p "$work"/apt/lists/partial "$work"/apt/cache/archives/partial "$work"/source "$work"/staged
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
test -e $keyring || keyring=
echo "deb-src ${keyring:+[signed-by=$keyring] }$mirror $suite main" >"$work/apt/sources.list"
apt_own() {
    apt-get -qq -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" \
        -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o "APT::Sandbox::User=$(id -un)" "$@" >>"$log" 2>&1
}
apt_own update || failed "no list of $suite's sources from $mirror"
(cd "$work" && apt_own source --download-only python3.13) || failed "no source of python3.13 from $mirror"
tar -xf "$work"/python3.13_*.orig.tar.xz -C "$work/source" --strip-components 1

cd "$work/source"
{ ./configure --prefix="$prefix" --disable-gil --with-ensurepip=install --without-static-libpython \
    --disable-test-modules OPT="-DNDEBUG -fwrapv -O2 -Wall" &&
    make -j"${JOBS:-$(nproc)}" &&
    make altinstall DESTDIR="$work/staged"; } >>"$log" 2>&1 || failed "the build failed"

# Another build may have been as quick.
test -x "$python" || mv -T "$work/staged$prefix" "$prefix"
"$python" -c '
import sys, sysconfig
import bz2, ctypes, lzma, readline, sqlite3, ssl, uuid, zlib
assert sysconfig.get_config_var("Py_GIL_DISABLED") and not sys._is_gil_enabled()
'
echo "$python"
