// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Whatever a page is, its elements are whole JSON values.
func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"@odata.context":"x","@odata.nextLink":"https://graph.microsoft.com/v1.0/applications?$skiptoken=1","value":[{"id":"1"},{"id":"2"}]}`))
	f.Add([]byte(`{"value":[],"@odata.deltaLink":"https://graph.microsoft.com/v1.0/applications/delta?$deltatoken=1"}`))
	f.Add([]byte(`{"value":[1,"two",null,[[]]],"value":[{}]} trailing`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p page
		_ = p.read(json.NewDecoder(bytes.NewReader(text)), func(element json.RawMessage) error {
			if !json.Valid(element) {
				t.Errorf("%q is an element", element)
			}
			return nil
		})
	})
}

// Whatever a key is, its name is in the normal form, or there is none.
func FuzzKey(f *testing.F) {
	f.Add([]byte(`{"customKeyIdentifier":"52ED9B5038A47B9E2E2190715CC238359D4F8F73","key":null,"keyId":"1","type":"AsymmetricX509Cert","usage":"Verify"}`))
	f.Add([]byte(`{"customKeyIdentifier":"Uu2bUDike54uIZBxXMI4NZ1Pj3M=","endDateTime":"2027-01-01T00:00:00Z","key":"MIID","usage":"Verify"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var k keyCredential
		if json.Unmarshal(text, &k) != nil {
			return
		}
		k.lets(time.Unix(0, 0))
		k.marked()
		if name := k.name(); name != tallystick.NormalName(name) || strings.ContainsAny(name, " \n") {
			t.Errorf("the name is %q", name)
		}
	})
}

// Whatever is said of client secrets, one has a name in the normal form or none, and an empty value
// is none of them.
func FuzzSecrets(f *testing.F) {
	f.Add([]byte(`{"id":"1","passwordCredentials":[{"displayName":"Tallystick o-1","hint":"abc","keyId":"8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e11"}]}`), "abc8Q~")
	f.Add([]byte(`{"passwordCredentials":[{"hint":null,"keyId":"x"},{"hint":"ab"},{"hint":"ab","endDateTime":"2027-01-01T00:00:00Z"}]}`), "ab")
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		var o secretOwner
		if json.Unmarshal(text, &o) != nil {
			return
		}
		if name := o.nameOf(driver.NewSecret(value)); name != tallystick.NormalName(name) || name != "" && value == "" {
			t.Errorf("the name is %q", name)
		}
	})
}

// Both ways in which a thumbprint is written are one name.
func TestThumbprints(t *testing.T) {
	for _, text := range []string{"52ED9B5038A47B9E2E2190715CC238359D4F8F73", "Uu2bUDike54uIZBxXMI4NZ1Pj3M="} {
		k := keyCredential{CustomKeyIdentifier: &text}
		if k.name() != "x5t:52ed9b5038a47b9e2e2190715cc238359d4f8f73" {
			t.Errorf("%s is %q", text, k.name())
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "30": 30 * time.Second, "-1": 0, "x": 0, "99999999999": 0, "Sun, 22 Nov 2026 12:00:10 GMT": 10 * time.Second, "Sun, 22 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}
