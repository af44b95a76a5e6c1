# Python environments, for test/e2e/run, test/sam-local and test/conformance, which source this.
SAM_CLI=aws-sam-cli==1.170.0

# An environment is reinstalled when its requirements change.
venv() { # directory, packages
	local directory=$1 wanted="${*:2}"
	[[ -f $directory/.sftoken && $(<"$directory/.sftoken") == "$wanted" ]] && return
	echo "installing $wanted into $directory" >&2
	python3 -m venv "$directory"
	"$directory/bin/pip" install -q --disable-pip-version-check "${@:2}"
	echo "$wanted" >"$directory/.sftoken"
}
