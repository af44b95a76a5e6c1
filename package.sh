#!/usr/bin/env bash
# Makes a template that needs no build from template.yaml and a release's function zip files, which it uploads with `sam package`. In a
# clone run `make package`. Without one, run this script in the folder of the downloaded files: docs/how-to/deploy-release.md.
#
#   ARCH             arm64 (the default) or x86_64
#   BUCKET           bucket for the code, in the stack's region; without it the SAM CLI's own bucket
#   PREFIX           prefix of the objects' keys
#   KMS_KEY          KMS key that encrypts them
#   SIGNING_PROFILE  AWS Signer profile that signs them, as NAME or NAME:OWNER; the bucket must have versions
#   RELEASE          folder of the release's files, by default that of this script
#   OUTPUT           the template to write; by default packaged.yaml, with a samconfig.toml unless there is one
set -euo pipefail
here=$(dirname "$0")
release=${RELEASE:-$here} output=${OUTPUT:-packaged.yaml}
fail() { printf 'error: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }
sha256() { if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d' ' -f1; }

case ${ARCH:=arm64} in
arm64 | x86_64) ;;
amd64) ARCH=x86_64 ;;
*) fail "ARCH=$ARCH is no architecture of a release" "set ARCH to arm64 or x86_64" ;;
esac
command -v sam >/dev/null || fail "the SAM CLI is not installed" "install aws-sam-cli 1.170 or later"
rm -f "$output"
[[ -f $release/checksums.txt ]] || fail "no checksums.txt in $release" "download it from the release, or set RELEASE to the folder of its files"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

args=(--template-file "$work/template.yaml" --output-template-file "$output" --no-progressbar)
# An object that exists must not be taken for the release's: its key is the MD5 sum of a public file, so that anyone who may write to
# the bucket could have put other code there.
args+=(--force-upload)
if [[ -n ${BUCKET:-} ]]; then args+=(--s3-bucket "$BUCKET"); else args+=(--resolve-s3); fi
if [[ -n ${PREFIX:-} ]]; then args+=(--s3-prefix "$PREFIX"); fi
if [[ -n ${KMS_KEY:-} ]]; then args+=(--kms-key-id "$KMS_KEY"); fi
if [[ -n ${SIGNING_PROFILE:-} ]]; then
	args+=(--signing-profiles)
	for function in Token Rotate Probe; do args+=("${function}Function=$SIGNING_PROFILE"); done
fi

# What is verified is a copy, the one that is uploaded.
for function in token rotate probe; do
	zip=sftoken_${function}_$ARCH.zip
	[[ -f $release/$zip ]] || fail "no $zip in $release" "download it from the release, or set RELEASE to the folder of its files"
	cp "$release/$zip" "$work/$function.zip"
	# A line is the sum, a space, a space or *, and the name.
	wanted=$(awk -v name="$zip" '$2 == name || $2 == "*" name {print $1}' <"$release/checksums.txt")
	[[ -n $wanted ]] || fail "$release/checksums.txt has no checksum of $zip" "download both from the same release"
	[[ $(sha256 "$work/$function.zip") == "$wanted" ]] || fail "$release/$zip does not match checksums.txt" "do not deploy it; download the release again"
	# AWS Signer signs only objects whose name ends in .zip, and the SAM CLI names only those so that it has zipped.
	if [[ -n ${SIGNING_PROFILE:-} ]]; then unzip -q "$work/$function.zip" -d "$work/$function"; rm "$work/$function.zip"; fi
done

# The release's version is in the name of its archives.
version=$(sed -n 's/.*sftoken_\([0-9][^_]*\)_linux_amd64\.tar\.gz$/\1/p' <"$release/checksums.txt")
for file in LICENSE README.md; do if [[ -f $here/$file ]]; then cp "$here/$file" "$work"; fi; done
awk -v arch="$ARCH" -v version="$version" -v license="$(cd "$work" && ls LICENSE 2>/dev/null || true)" \
	-v readme="$(cd "$work" && ls README.md 2>/dev/null || true)" -v suffix="$([[ -n ${SIGNING_PROFILE:-} ]] || echo .zip)" '
	/^[A-Z]/ { section = $1 }
	/^  [A-Za-z]/ { name = $1 }
	section == "Globals:" && /^    CodeUri: / { changed++; next }
	section == "Parameters:" && name == "Architecture:" && /^    Default: / { changed++; print "    Default: " arch; next }
	# Otherwise the stack could say another architecture than its code has.
	section == "Parameters:" && name == "Architecture:" && /^    AllowedValues: / { changed++; print "    AllowedValues: [" arch "]"; next }
	{ print }
	name == "AWS::ServerlessRepo::Application:" && /^  [A-Z]/ {
		changed++
		if (version) print "    SemanticVersion: " version
		if (license) print "    LicenseUrl: " license
		if (readme) print "    ReadmeUrl: " readme
	}
	section == "Resources:" && name ~ /^(Token|Rotate|Probe)Function:$/ && /^    Properties:$/ {
		changed++
		print "      CodeUri: " tolower(substr(name, 1, index(name, "Function") - 1)) suffix
	}
	END { exit changed != 7 }
' <"$here/template.yaml" >"$work/template.yaml" || fail "$here/template.yaml is not the template that this script changes" "use both from the same release"

sam package "${args[@]}"

# Without this file `sam deploy` would take template.yaml, and this folder as the functions' code.
if [[ -z ${OUTPUT:-} && ! -e samconfig.toml ]]; then
	cat >samconfig.toml <<-EOF
		version = 0.1
		[default.global.parameters]
		stack_name = "sftoken"
		[default.deploy.parameters]
		template_file = "packaged.yaml"
		capabilities = "CAPABILITY_IAM"
		confirm_changeset = true
		$(if [[ -n ${BUCKET:-} ]]; then echo "s3_bucket = \"$BUCKET\""; else echo "resolve_s3 = true"; fi)
	EOF
	echo "wrote samconfig.toml, with which sam deploy takes $output"
fi
