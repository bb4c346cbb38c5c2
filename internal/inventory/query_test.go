// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/problem"
)

// A slip in a filter is named, with what was likely meant.
func TestFiltersAreChecked(t *testing.T) {
	for query, hint := range map[string]string{
		"kind=certifcate": `"certificate"`, "kind=cert": `"certificate"`, "scheme=tsl": `"tls"`, "algorithm=rs": `"rsa"`, "algorithm=rssa-2048": `"rsa"`, "role=hold": `"holds"`, "rule=expird": `"expired"`,
		"severity=low-ish": "It is one of info", "sample=yes": "true, false",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = inventory.ParseCredentialFilter(q, []string{"expired"})
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(problem.Of(err).Hint, hint) {
			t.Errorf("%s: %v, hint %q", query, err, problem.Of(err).Hint)
		}
	}
	if _, err := inventory.ParsePlaceFilter(url.Values{"scheme": {"fil"}}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an unknown scheme: %v", err)
	}
}

// A family goes by its name.
func TestFamilies(t *testing.T) {
	for given, want := range map[string]string{"rsa": "rsa-", "RSA-2048": "rsa-2048", "rsa-": "rsa-", "ed25519": "ed25519", "ml-dsa": "ml-dsa-", "ecdsa-p256": "ecdsa-p256", "unknown": "unknown", "": ""} {
		f, err := inventory.ParseCredentialFilter(url.Values{"algorithm": {given}}, nil)
		if err != nil || f.Algorithm != want {
			t.Errorf("%q is %q, %v; want %q", given, f.Algorithm, err, want)
		}
	}
}

func TestPathsArePlaces(t *testing.T) {
	f, err := inventory.ParsePlaceFilter(url.Values{"prefix": {"/etc/with space"}})
	if err != nil || f.Prefix != "file:///etc/with%20space" {
		t.Errorf("%+v, %v", f, err)
	}
}
