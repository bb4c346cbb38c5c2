// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

// bundle is Debian's trust store as programs read it.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// TestTrustStoreIsQuiet judges the roots that Debian trusts as a first run on
// a bare machine sees them: in the bundle, in the package's own files, and in
// a bundle that a service points at. A root may be expired or distrusted;
// nothing else about it is worth a word.
func TestTrustStoreIsQuiet(t *testing.T) {
	rest, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatalf("install the Debian package ca-certificates: %v", err)
	}
	file := tallystick.Sighting{Place: tallystick.FilePlace("/usr/share/ca-certificates/mozilla/root.crt"), Role: tallystick.RolePresents}
	file.File = &tallystick.FileFacts{Format: "pem", Mode: "0644", Owner: "root", Readers: []string{"everybody"}}
	pointed := tallystick.Sighting{Place: tallystick.FilePlace(bundle), Role: tallystick.RolePresents}
	pointed.File = &tallystick.FileFacts{Format: "pem", UsedBy: []tallystick.Usage{{Service: "postfix", As: "ca"}}}
	roots := 0
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		roots++
		s := subject(read(t, block.Bytes), trusted(), file, pointed)
		s.Public = true
		over := !s.Now.Before(endOf(s.Credential))
		for _, r := range All() {
			if r.Check == nil || strings.HasPrefix(r.Name, "distrusted-") || strings.HasPrefix(r.Name, "compromised-") {
				continue
			}
			for _, hit := range r.Check(s) {
				if r.Name != "expired" || !over || hit.Severity != tallystick.SeverityLow {
					t.Errorf("%s (%s): %v %s", s.Credential.Subject, r.Name, hit.Severity, hit.Evidence)
				}
			}
		}
	}
	if roots < 100 {
		t.Errorf("%s has %d roots, which is less than Debian has", bundle, roots)
	}
}
