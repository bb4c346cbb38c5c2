// SPDX-License-Identifier: Apache-2.0

package entra

import "net/http"

// A failure is why the token endpoint refused. The words are those of Microsoft's list
// of AADSTS codes and of answers that people have published.
type failure struct {
	code   int
	detail string // what stands in the answer; "" is the text of the table
	// used is what the request showed that it holds, if anything.
	used *credentialUsed
}

// A refusal is what all failures of one code have in common.
type refusal struct {
	status int
	word   string // OAuth 2.0 error (RFC 6749 section 5.2)
	text   string // short, as status.failureReason has it
}

var refusals = map[int]refusal{
	50027:   {http.StatusBadRequest, "invalid_request", "JWT token is invalid or malformed."},
	70003:   {http.StatusBadRequest, "unsupported_grant_type", "The app returned an unsupported grant type."},
	70011:   {http.StatusBadRequest, "invalid_scope", "The scope requested by the app is invalid."},
	90002:   {http.StatusBadRequest, "invalid_request", "The tenant name was not found in the data store."},
	90014:   {http.StatusBadRequest, "invalid_request", "The required field is missing from the credential."},
	500011:  {http.StatusBadRequest, "invalid_resource", "The resource principal was not found in the tenant."},
	700016:  {http.StatusBadRequest, "unauthorized_client", "Application was not found in the directory."},
	700021:  {http.StatusUnauthorized, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter."},
	700023:  {http.StatusUnauthorized, "invalid_client", "Client assertion audience claim does not match Realm issuer."},
	700024:  {http.StatusUnauthorized, "invalid_client", "Client assertion is not within its valid time range."},
	700027:  {http.StatusUnauthorized, "invalid_client", "Client assertion contains an invalid signature."},
	700211:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion issuer."},
	700212:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion audience."},
	700213:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion subject."},
	1002012: {http.StatusBadRequest, "invalid_scope", "The provided value for scope is not valid: client credential flows must have a scope value with /.default suffixed to the resource identifier."},
	7000112: {http.StatusBadRequest, "unauthorized_client", "Application is disabled."},
	7000215: {http.StatusUnauthorized, "invalid_client", "Invalid client secret is provided."},
	7000216: {http.StatusUnauthorized, "invalid_client", "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."},
	7000222: {http.StatusUnauthorized, "invalid_client", "The provided client secret keys are expired."},
}

// failureText is what a sign-in record says of a code.
func failureText(code int) string {
	if code == 0 {
		return "Other." // so the logs write it
	}
	return refusals[code].text
}

func fail(code int, detail string) *failure { return &failure{code: code, detail: detail} }
