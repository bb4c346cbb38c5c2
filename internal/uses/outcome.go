// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"

	"github.com/tallystick/tallystick"
)

// outcomeOf says what a record's words for how it ended show. Whoever writes a
// failure without a reason does not say that the key was held.
func outcomeOf(outcome, detail string) tallystick.Outcome {
	switch strings.ToLower(outcome) {
	case "", "success", "succeeded", "successful", "ok", "accepted", "allowed", "0", "true":
		return tallystick.OutcomeSuccess
	}
	for _, text := range []string{outcome, detail} {
		for code := range strings.FieldsFuncSeq(text, notDigit) {
			if known, ok := entraErrors(code); ok {
				return known
			}
		}
	}
	text := strings.ToLower(outcome + " " + detail)
	if strings.Contains(text, "signature") && (strings.Contains(text, "invalid") || strings.Contains(text, "bad")) {
		return tallystick.OutcomeAttempt
	}
	for _, word := range []string{"expired", "disabled", "revoked", "blocked", "suspended"} {
		if strings.Contains(text, word) {
			return tallystick.OutcomeRefused
		}
	}
	return tallystick.OutcomeAttempt
}

// hasEntraCode says whether a detail names a code that is known.
func hasEntraCode(detail string) bool {
	for code := range strings.FieldsFuncSeq(detail, notDigit) {
		if _, ok := entraErrors(code); ok {
			return true
		}
	}
	return false
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// entraErrors says what an AADSTS code shows; false is a code that is not known.
// The codes and their texts are in Microsoft's list of authentication error codes.
func entraErrors(code string) (tallystick.Outcome, bool) {
	switch code {
	case "7000222", // the secret or key has expired
		"7000112", // the application is disabled
		"53003",   // conditional access refused, which is judged after the credential
		"501051":  // the application has no role at the resource, which is judged after the credential
		return tallystick.OutcomeRefused, true
	case "700027", // the signature of the assertion is bad, or by a key that is not registered
		"700024",            // the assertion's time is over: its signature need not have been looked at
		"700023", "7000214", // audience and subject of the assertion
		"7000215", "7000216", "7000218", // wrong or missing secret
		"700016", "90002", // no such application or tenant
		"700030", "700021": // a certificate or assertion that cannot be read
		return tallystick.OutcomeAttempt, true
	}
	return "", false
}

// entraOutcome is the outcome of a sign-in with an error code.
func entraOutcome(code string) tallystick.Outcome {
	if code == "" || code == "0" {
		return tallystick.OutcomeSuccess
	}
	known, ok := entraErrors(code)
	if !ok {
		return tallystick.OutcomeAttempt
	}
	return known
}
