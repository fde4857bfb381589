# prepare.sh - what ./chat and ./check share: install what is missing, find a place
# to build, build. Sourced, after `root` is set to the top of the tree.
# shellcheck shell=sh
# shellcheck disable=SC2154 # root

say() {
	printf '%s\n' "$*" >&2
}

# Run a command, in a subshell, whose output is of interest only when it fails; it is
# left in $output.
# Standard input belongs to the chat, so nothing that is run here may read it.
output=
quietly() {
	if output=$("$@" 2>&1 </dev/null); then
		return 0
	else
		return $?
	fi
}

# --- packages, by their Debian names ---------------------------------------

missing=

# need PACKAGE COMMAND... - PACKAGE is missing unless COMMAND succeeds
need() {
	package=$1
	shift
	quietly "$@" || missing="$missing $package"
}

has() {
	command -v "$1"
}

# Does COMPILER make a program of #include <HEADER> with FLAGS...?
compiles() {
	compiler=$1 header=$2
	shift 2
	has "$compiler" && printf '#include <%s>\nint main(void)\n{\n\treturn 0;\n}\n' "$header" |
		"$compiler" "$@" -x c -o /dev/null -
}

need_to_build() {
	need gcc has gcc
	need libc6-dev compiles gcc sys/socket.h
	need meson has meson
	need ninja-build has ninja
	need pkg-config has pkg-config
	need libsodium-dev pkg-config --exists libsodium
	need libreadline-dev pkg-config --exists readline
	need libsqlite3-dev pkg-config --exists sqlite3
}

# clang does not depend on its sanitizer and fuzzer runtimes. They are in a package
# named after the version; before LLVM 14 they were in libclang-common.
clang_runtime_package() {
	version=$(clang -dumpversion 2>/dev/null | cut -d. -f1) || version=
	if [ -z "$version" ]; then
		version=$(apt-cache depends clang 2>/dev/null |
			sed -n 's/.*Depends: clang-\([0-9]\{1,\}\)$/\1/p' | head -n 1)
	fi
	if [ -n "$version" ] && quietly apt-cache show "libclang-common-$version-dev" &&
		! quietly apt-cache show "libclang-rt-$version-dev"; then
		echo "libclang-common-$version-dev"
	else
		echo "libclang-rt-${version:-14}-dev"
	fi
}

# Has clang what a build with -Dfuzz=true and sanitizers links?
has_clang_runtime() {
	printf 'int LLVMFuzzerTestOneInput(void);\nint LLVMFuzzerTestOneInput(void)\n{\n\treturn 0;\n}\n' |
		clang -fsanitize=address,undefined,fuzzer -x c -o /dev/null -
}

need_to_check() {
	need_to_build
	need clang has clang
	need clang-runtime has_clang_runtime
	need libcmocka-dev pkg-config --exists cmocka
	need mandoc has mandoc
	need shellcheck has shellcheck
	need clang-format has clang-format
	need socat has socat
	need tmux has tmux
	need spin has spin
	need util-linux has flock
}

# The runtime's package can be named only when the lists are there.
packages() {
	for package in $missing; do
		[ "$package" != clang-runtime ] || package=$(clang_runtime_package)
		printf ' %s' "$package"
	done
}

# Install what is missing, or say how and end.
install_missing() {
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ] || ! quietly has apt-get; then
		say "missing here:$(packages)"
		say "as root, run: apt-get update && apt-get install -y --no-install-recommends$(packages)"
		exit 69
	fi
	export DEBIAN_FRONTEND=noninteractive
	say 'looking for what is missing'
	quietly apt-get -q update || say "$output"
	say "installing:$(packages)"
	# another apt may be at work: wait for it
	# shellcheck disable=SC2046 # a list of packages
	if ! quietly apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
		$(packages); then
		say "$output"
		say "could not install:$(packages)"
		exit 69
	fi
	missing=
}

# --- whose directories these are ----------------------------------------------

# may_make DIR - may this user make files there? Root: if every directory on the way is
# root's, as far as it is there: what root makes in the home of a user locks that user
# out. Any other user: if the last one that is there is its own or root's.
may_make() {
	me=$(id -u) at=$1
	case $at in
	/*) ;;
	*) return 1 ;;
	esac
	while [ "$at" != / ]; do
		owner=$(stat -L -c %u "$at" 2>/dev/null) || owner=
		case $owner in
		'') ;;
		"$me" | 0) [ "$me" = 0 ] || return 0 ;;
		*) return 1 ;;
		esac
		at=$(dirname "$at")
	done
}

is_mine() {
	[ "$(stat -L -c %u "$1" 2>/dev/null)" = "$(id -u)" ]
}

# The environment can be another user's, of sudo(8): then all that is run from here has
# this user's own home instead.
own_environment() {
	may_make "${HOME:-}" || HOME=$(getent passwd "$(id -u)" | cut -d: -f6) || HOME=
	export HOME="${HOME:-/nonexistent}"
	may_make "${XDG_STATE_HOME:-}" || unset XDG_STATE_HOME
	may_make "${XDG_CACHE_HOME:-}" || unset XDG_CACHE_HOME
	may_make "${XDG_DATA_HOME:-}" || unset XDG_DATA_HOME
	may_make "${XDG_CONFIG_HOME:-}" || unset XDG_CONFIG_HOME
	may_make "${TMPDIR:-}" || unset TMPDIR
}
own_environment

# usual_dir VARIABLE BELOW_HOME OF_ROOT - print where this user keeps such files: in the
# value of VARIABLE, or below the home directory. Root keeps its own in OF_ROOT.
usual_dir() {
	eval "set_dir=\${$1:-}"
	if [ -n "$set_dir" ]; then
		echo "$set_dir"
	elif [ "$(id -u)" = 0 ]; then
		echo "$3"
	else
		echo "$HOME/$2"
	fi
}

# --- a place to build --------------------------------------------------------

# A directory of this user alone, for files that have no better place.
private_tmp() {
	dir=${TMPDIR:-/tmp}/chat-broker-$(id -u)
	mkdir -m 700 "$dir" 2>/dev/null || :
	# the name can be guessed: it must not be somebody else's, nor a link
	if [ -L "$dir" ] || [ "$(stat -c %u:%a "$dir")" != "$(id -u):700" ]; then
		say "$dir is not a private directory of this user"
		exit 73
	fi
	echo "$dir"
}

# Make the first directory that can be written: DIR, or else NAME in the private one.
writable_dir() {
	dir=$1 name=$2
	if ! { may_make "$dir" && (umask 077 && mkdir -p "$dir") && [ -w "$dir" ]; } 2>/dev/null; then
		dir=$(private_tmp)/$name
		mkdir -p "$dir"
	fi
	echo "$dir"
}

# build_dir [SUFFIX] - build/ in the tree, if the tree is this user's: what root makes in the
# tree of another user is in that user's way. Otherwise one in the user's cache, of a name
# made from the tree's.
build_dir() {
	if is_mine "$root" && mkdir -p "$root/build$1" 2>/dev/null && is_mine "$root/build$1" &&
		[ -w "$root/build$1" ]; then
		echo "$root/build$1"
	else
		name=build-$(printf '%s' "$root" | cksum | cut -d' ' -f1)$1
		writable_dir "$(usual_dir XDG_CACHE_HOME .cache /var/cache)/chat-broker/$name" "$name"
	fi
}

# --- building ----------------------------------------------------------------

# build DIR TARGETS OPTION... - configure DIR once with OPTIONs, and compile TARGETS, a
# list. One at a time: the others wait at the lock.
build() {
	dir=$1 targets=$2
	shift 2
	# meson reads files as UTF-8, and a minimal system has no locale but these two
	LC_ALL=C.UTF-8
	export LC_ALL
	status=0
	exec 8>"$dir/lock"
	flock 8
	# a tree that was moved or copied took a build of its old place along
	if [ -e "$dir/source" ] && [ "$(cat "$dir/source")" != "$root" ]; then
		rm -rf "$dir/meson-private" "$dir/build.ninja"
	fi
	if [ ! -e "$dir/build.ninja" ]; then
		if meson setup "$@" "$dir" "$root"; then
			printf '%s\n' "$root" >"$dir/source"
		else
			status=$?
		fi
	fi
	# shellcheck disable=SC2086 # a list of targets
	[ "$status" != 0 ] || ninja -C "$dir" $targets || status=$?
	exec 8>&-
	return "$status"
}
