#!/usr/bin/env bash
# How many API requests a Salesforce org has left, asked with a token of sftoken: limits.sh APP
#
# SFTOKEN_URL is the ApiUrl of the sftoken deployment; AWS credentials are in the environment. Needs curl 7.88 or later, and jq.
# Keys and tokens reach curl on its standard input, as configuration: everybody on the machine can read its arguments.
set -euo pipefail
app=${1:?usage: limits.sh APP}
# Signed for the API's region, which need not be the caller's.
region=$(sed -nE 's/.*\.execute-api\.([a-z0-9-]+)\..*/\1/p' <<<"$SFTOKEN_URL")
region=${region:-${AWS_REGION:?}}

# Prints the API's answer. Its argument is a query, or empty.
get_token() {
	{
		printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
		if [[ -n ${AWS_SESSION_TOKEN:-} ]]; then printf 'header = "x-amz-security-token: %s"\n' "$AWS_SESSION_TOKEN"; fi
	} |
		# A 503 is tried again when its Retry-After says, signed anew. Each try's body is printed: the last one counts.
		curl --silent --show-error --fail-with-body --retry 5 --retry-max-time 60 --aws-sigv4 "aws:amz:$region:execute-api" \
			--config - "${SFTOKEN_URL%/}/tokens/$app$1" | jq --slurp 'last'
}

# Prints the org's answer. Its argument is the API's.
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
	# The token has died early. The API gives another one if Salesforce tells it the same, and this one again if not.
	token=$(get_token "?rejected=$(jq -r .token_id <<<"$token")") || give_up "no token: $token"
	limits=$(get_limits "$token") || give_up "Salesforce: $limits"
}
jq -r '.DailyApiRequests | "\(.Remaining) of \(.Max) API requests are left today"' <<<"$limits"
