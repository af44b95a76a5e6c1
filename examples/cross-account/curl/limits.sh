#!/usr/bin/env bash
# Prints how many API requests a Salesforce org has left: limits.sh APP
#
# SFTOKEN_URL is the ApiUrl of the sftoken deployment. AWS credentials are in the environment. Needs curl 7.88 or later, and jq.
# curl reads keys and tokens from standard input, since all users of the machine can read its arguments.
set -euo pipefail
app=${1:?usage: limits.sh APP}
# The API's region, which may differ from the caller's.
region=$(sed -nE 's/.*\.execute-api\.([a-z0-9-]+)\..*/\1/p' <<<"$SFTOKEN_URL")
region=${region:-${AWS_REGION:?}}

# Prints the API's response. The argument is a query string or empty.
get_token() {
	{
		printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
		if [[ -n ${AWS_SESSION_TOKEN:-} ]]; then printf 'header = "x-amz-security-token: %s"\n' "$AWS_SESSION_TOKEN"; fi
	} |
		# curl retries a 503 after its Retry-After, signed anew, and prints the body of each attempt.
		curl --silent --show-error --fail-with-body --retry 5 --retry-max-time 60 --aws-sigv4 "aws:amz:$region:execute-api" \
			--config - "${SFTOKEN_URL%/}/tokens/$app$1" | jq --slurp 'last'
}

# Prints the org's response. The argument is the API's response.
get_limits() {
	printf 'header = "Authorization: Bearer %s"\n' "$(jq -r .access_token <<<"$1")" |
		curl --silent --show-error --fail-with-body --config - "$(jq -r .instance_url <<<"$1")/services/data/v65.0/limits"
}

give_up() {
	echo "limits.sh: $1" >&2
	exit 1
}

token=$(get_token "") || give_up "no token: $token"
limits=$(get_limits "$token") || {
	[[ $limits == *INVALID_SESSION_ID* ]] || give_up "Salesforce: $limits"
	# The session may have ended early. The API returns another token unless Salesforce reports this one as active.
	token=$(get_token "?rejected=$(jq -r .token_id <<<"$token")") || give_up "no token: $token"
	limits=$(get_limits "$token") || give_up "Salesforce: $limits"
}
jq -r '.DailyApiRequests | "\(.Remaining) of \(.Max) API requests are left today"' <<<"$limits"
