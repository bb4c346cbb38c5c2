// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// What a record only counts is told: a value that is too large would be a way to add one unseen.
func TestLostValuesAreTold(t *testing.T) {
	const text = "2 values too large or too many to be told"
	for _, row := range []struct {
		attribute     string
		lost, removed int
		want          []string
	}{
		{"userCertificate", 2, 0, []string{"credential-added  > " + text}},
		{"sshPublicKey", 2, 2, []string{"credential-removed " + text + " > "}},
		{"msDS-KeyCredentialLink", 4, 2, []string{"credential-removed " + text + " > ", "credential-added  > " + text}},
		{"member", 2, 0, []string{"grant-added  > " + text}},
		{"msDS-AllowedToActOnBehalfOfOtherIdentity", 1, 0, []string{"trust-added  > what cannot be read"}},
		{"msDS-AllowedToActOnBehalfOfOtherIdentity", 2, 1, []string{"trust-added what cannot be read > what cannot be read"}},
		{"msDS-AllowedToActOnBehalfOfOtherIdentity", 1, 1, []string{"trust-removed what cannot be read > "}},
		{"description", 2, 0, nil},
	} {
		r := directoryRecord{&driver.DirectoryRecord{Directory: "ad:lab.test", DN: "CN=x", Name: "x", Attribute: row.attribute, Lost: row.lost, LostRemoved: row.removed}}
		var got []string
		for _, c := range r.changes() {
			got = append(got, fmt.Sprintf("%s %s > %s", c.Kind, c.Before, c.After))
			if c.Target != "ad:lab.test/cn=x" || c.Values != (*tallystick.ChangedValues)(nil) {
				t.Errorf("%s: of %s, undone by %+v", row.attribute, c.Target, c.Values)
			}
		}
		if d := cmp.Diff(row.want, got); d != "" {
			t.Errorf("%s: %s", row.attribute, d)
		}
	}
}
