// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
)

func TestParties(t *testing.T) {
	var out bytes.Buffer
	err := export.WriteParties(&out, []usage.Connection{
		{Party: `=HYPERLINK("http://evil.example")`, First: now.Add(-time.Hour), Last: now, Holder: 1, Relying: 3, Foreign: 2}, {Party: "ldap:dc1:636"},
	})
	want := "relying_party,foreign,accepted,made,first_use,last_use\r\n" +
		`"'=HYPERLINK(""http://evil.example"")",2,3,1,2026-11-22T11:00:00Z,2026-11-22T12:00:00Z` + "\r\nldap:dc1:636,0,0,0,,\r\n"
	if d := cmp.Diff(want, out.String()); d != "" || err != nil {
		t.Errorf("%v: %s", err, d)
	}
}

// What is known by its uses alone is no certificate, and nobody has its bytes.
func TestNamedCredentials(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const name = "account:ldap/uid=svc,dc=example"
		ids, err := db.NameCredentials(t.Context(), []store.Name{{Name: name, Seen: now}})
		if err != nil {
			t.Fatal(err)
		}
		var bom cdx.BOM
		if err := json.Unmarshal(write(t, newExporter(t, db), export.CycloneDX, store.CredentialFilter{Kind: string(tallystick.KindNamed), Gone: true}), &bom); err != nil {
			t.Fatal(err)
		}
		if bom.Components == nil || len(*bom.Components) != 1 {
			t.Fatalf("%+v", bom.Components)
		}
		got := (*bom.Components)[0]
		want := &cdx.CryptoProperties{
			AssetType:                       cdx.CryptoAssetTypeRelatedCryptoMaterial,
			RelatedCryptoMaterialProperties: &cdx.RelatedCryptoMaterialProperties{Type: cdx.RelatedCryptoMaterialTypeCredential, ID: string(ids[0])},
		}
		if d := cmp.Diff(want, got.CryptoProperties); d != "" || got.Name != name || got.Hashes != nil {
			t.Errorf("%s, %v: %s", got.Name, got.Hashes, d)
		}
	})
}
