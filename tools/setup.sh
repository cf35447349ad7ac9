#!/usr/bin/env bash
# Makes .venv from the lock that fits this machine: `make setup`, with LOCK=default|next|serve and PYTHON=PATH to choose.
#
#   default   requirements.lock        Python 3.11
#   next      requirements-next.lock   Python 3.13 or 3.12, glibc 2.39 or newer
#   serve     requirements-serve.lock  Python 3.11; to serve models only, and only when it is named
#
# Without LOCK and PYTHON an environment that is there stays what it is; else the first that fits: Python 3.11; Python
# 3.13 or 3.12 where glibc is new enough; Python 3.11 as uv downloads it. `--dry-run` says what would be done.
set -euo pipefail
cd "$(dirname "$0")/.."

UV="uv==0.13.9"
VENV=.venv
STAMP="$VENV/.installed"
GLIBC_OF_NEXT=2.39
declare -A LOCK_FILE=([default]=requirements.lock [next]=requirements-next.lock [serve]=requirements-serve.lock)
declare -A VERSIONS=([default]="3.11" [next]="3.13 3.12" [serve]="3.11")

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# version PYTHON: prints its version, 3.11; fails when it does not run, as the shims of pyenv may.
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# lock_of VERSION: the lock that a version of Python belongs to, or nothing.
lock_of() {
    local lock
    for lock in default next; do
        if [[ " ${VERSIONS[$lock]} " == *" $1 "* ]]; then echo "$lock"; fi
    done
}

glibc() { getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2; }

# installed: the lock that .venv was made from, or nothing.
installed() { if [[ -f $STAMP ]]; then echo "$(<"$STAMP")"; fi; }

# fits LOCK: whether the C library is new enough.
fits() { [[ $1 != next || $(printf '%s\n' "$GLIBC_OF_NEXT" "$(glibc)" | sort -V | head -n 1) == "$GLIBC_OF_NEXT" ]]; }

# find_python VERSION: prints the first interpreter of that version that runs, on PATH or of pyenv.
find_python() {
    local python
    while IFS= read -r python; do
        if [[ -x $python && $(version "$python") == "$1" ]]; then
            echo "$python"
            return
        fi
    done < <(type -aP "python$1" python3 || true; ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null || true)
    return 1
}

# --- Which lock, and which Python: sets lock and python ---------------------------------------------

# take PYTHON: it, and the lock that its version belongs to.
take() {
    local found
    found=$(version "$1") || fail "PYTHON must be an interpreter that runs. Received: $1."
    python=$1 lock=${LOCK:-$(lock_of "$found")}
    [[ -n $lock && " ${VERSIONS[$lock]} " == *" $found "* ]] || fail "Python ${VERSIONS[${lock:-default}]// / or }" \
        "is needed${LOCK:+ for LOCK=$LOCK}. Received: Python $found ($1). Name another, or leave PYTHON out."
}

# find_for LOCK: its newest Python that is installed.
find_for() {
    local wanted
    for wanted in ${VERSIONS[$1]}; do
        if python=$(find_python "$wanted"); then
            lock=$1
            return
        fi
    done
    return 1
}

choose() {
    local candidate
    lock="" python=""
    if [[ -n ${PYTHON:-} ]]; then
        take "$(type -P "$PYTHON" || echo "$PYTHON")"
    elif [[ -z ${LOCK:-} && -x $VENV/bin/python && -n $(lock_of "$(version $VENV/bin/python)") ]]; then
        take $VENV/bin/python
        if [[ $(installed) == serve ]]; then lock=serve; fi
    else
        for candidate in ${LOCK:-default next}; do
            if fits "$candidate" && find_for "$candidate"; then break; fi
        done
        lock=${lock:-${LOCK:-default}}
    fi
    fits "$lock" || fail "LOCK=next needs glibc $GLIBC_OF_NEXT or newer (Debian 13, Ubuntu 24.04, Fedora 40)." \
        "Received: glibc $(glibc). Use Python ${VERSIONS[default]} (LOCK=default), or a container:" \
        "docs/operations/platforms.md."
}

# --- The environment --------------------------------------------------------------------------------

# get_uv: sets uv to one on PATH, or installs it by any python3; uv downloads Python itself.
get_uv() {
    if uv=$(type -P uv); then return; fi
    uv=build/uv/bin/uv
    [[ -x $uv ]] || { python3 -m venv build/uv && build/uv/bin/python -m pip install --quiet --disable-pip-version-check "$UV"; } >/dev/null 2>&1
}

make_venv() {
    if [[ -x $VENV/bin/python && " ${VERSIONS[$lock]} " == *" $(version $VENV/bin/python) "* ]] &&
        [[ -z $(installed) || $(installed) == "$lock" ]] &&
        [[ -z ${PYTHON:-} || $(version "$python") == $(version $VENV/bin/python) ]]; then
        return
    fi
    rm -rf $VENV
    if [[ -n $python ]]; then
        say "Python $(version "$python") ($python) -> $VENV"
        "$python" -m venv $VENV || fail "$python could not make $VENV. On Debian and Ubuntu:" \
            "apt install python$(version "$python")-venv."
        return
    fi
    local wanted=${VERSIONS[$lock]%% *}
    say "no Python $wanted found, uv fetches it -> $VENV"
    get_uv && "$uv" venv --quiet --seed --python "$wanted" $VENV ||
        fail "Python $wanted is needed and could not" \
        "be had: uv, which downloads it, was not found or has no network. Either: make setup" \
        "PYTHON=/path/to/python$wanted; or install uv (pip install uv, pipx install uv) and run again; or pyenv install" \
        "$wanted; on Debian and Ubuntu uv needs python3-venv; where downloads are blocked, set" \
        "UV_PYTHON_INSTALL_MIRROR to your mirror."
}

# Bytecode is compiled at installation, or the first import of TensorFlow takes minutes. A lock is whole, and that of
# next is made with an override, which a second resolution would not know: hence --no-deps.
install() {
    local file=${LOCK_FILE[$lock]}
    say "installing $(grep -c '^[A-Za-z0-9]' "$file") packages of $file"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$UV"
    export VIRTUAL_ENV="$PWD/$VENV"
    env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/uv" pip install --quiet --require-hashes --no-deps --compile-bytecode -r "$file"
    say "installing recsys_ssl (editable)"
    "$VENV/bin/uv" pip install --quiet --no-deps --no-build-isolation -e .
    echo "$lock" >"$STAMP"
    say "done, $VENV/bin/recsys-ssl --help"
}

is_installed() {
    local input
    [[ -f $STAMP && $(<"$STAMP") == "$lock" ]] || return 1
    for input in "${LOCK_FILE[$lock]}" setup.py tools/setup.sh; do
        if [[ $input -nt $STAMP ]]; then return 1; fi
    done
}

[[ -z ${LOCK:-} || -n ${LOCK_FILE[$LOCK]:-} ]] || fail "LOCK must be default, next or serve. Received: LOCK=$LOCK."
[[ $(uname -sm) == "Linux x86_64" ]] || fail "TFX has wheels for x86-64 Linux only. Received: $(uname -sm). Use a container:" \
    "docs/operations/platforms.md."
[[ -n $(glibc) ]] || fail "the wheels need glibc, which was not found (Alpine has none). Use a container:" \
    "docs/operations/platforms.md."
choose
if [[ ${1:-} == --dry-run ]]; then
    echo "${LOCK_FILE[$lock]} ${python:-uv}"
    exit
fi
make_venv
is_installed || install
