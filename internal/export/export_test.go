// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// estateSize is more than two pages of an export.
const estateSize = 2100

// furnish fills a store with certificates, three of which share each key, and
// with one of those bare keys.
func furnish(t *testing.T, db *store.DB) {
	t.Helper()
	batch := store.Batch{Run: 1, Source: "test"}
	saw := func(c tallystick.Credential, role tallystick.Role, path string) {
		batch.Sightings = append(batch.Sightings, tallystick.Sighting{Credential: c, Place: tallystick.FilePlace(path), Role: role, Seen: now})
	}
	for n := range estateSize {
		raw, spki := fmt.Appendf(nil, "certificate %d", n), fmt.Appendf(nil, "key %d", n/3)
		c := tallystick.Credential{
			ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate, Raw: raw, Serial: fmt.Sprintf("%x", n),
			Key:     tallystick.Key{ID: tallystick.KeyIDOf(spki), Algorithm: "ecdsa-p256", Bits: 256, SPKI: spki},
			Subject: fmt.Sprintf("CN=host%d.example", n), Issuer: "CN=Test-CA", Names: []string{fmt.Sprintf("host%d.example", n)},
			NotBefore: now.AddDate(0, -1, 0), NotAfter: now.Add(time.Duration(n) * time.Hour), Signature: "rsa-sha256",
		}
		saw(c, tallystick.RolePresents, fmt.Sprintf("/etc/tls/%d.pem", n))
		if n == 0 {
			saw(tallystick.Credential{ID: tallystick.FingerprintOf(spki), Kind: tallystick.KindKey, Raw: spki, Key: c.Key}, tallystick.RoleHolds, "/etc/tls/0.key")
		}
	}
	evil := []byte("evil")
	saw(tallystick.Credential{ID: tallystick.FingerprintOf(evil), Kind: tallystick.KindSealed, Subject: `=HYPERLINK("http://evil.example","x")`}, tallystick.RoleHolds, "/etc/tls/evil.p12")
	if _, err := db.Record(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// newExporter returns an exporter over a store.
func newExporter(t *testing.T, db *store.DB) export.Exporter {
	t.Helper()
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	return export.Exporter{DB: db, Gate: gate.New(log, clock), Now: clock}
}

// write exports what a filter lets through.
func write(t *testing.T, e export.Exporter, format export.Format, f store.CredentialFilter) []byte {
	t.Helper()
	source, err := e.Open(t.Context(), gate.Actor{Name: "maria", Role: gate.Viewer, Via: "session"}, f)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := source.Write(t.Context(), &out, format); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCSV(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		furnish(t, db)
		rows, err := csv.NewReader(bytes.NewReader(write(t, newExporter(t, db), export.CSV, store.CredentialFilter{}))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != estateSize+3 { // the head, the key and the container
			t.Fatalf("%d rows", len(rows))
		}
		seen := map[string]bool{}
		for _, row := range rows {
			if seen[row[0]] {
				t.Errorf("%s is there twice", row[0])
			}
			seen[row[0]] = true
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
					t.Errorf("a spreadsheet would calculate %q", cell)
				}
			}
		}
		want := []string{
			string(tallystick.FingerprintOf([]byte("certificate 7"))), "certificate", "CN=host7.example", "host7.example", "CN=Test-CA", "7", "ecdsa-p256",
			string(tallystick.KeyIDOf([]byte("key 2"))), "rsa-sha256", "false", "2026-10-22T12:00:00Z", "2026-11-22T19:00:00Z", "2026-11-22T12:00:00Z",
			"1", "0", "none", "", "", "", "",
		}
		for _, row := range rows {
			if row[2] == "CN=host7.example" {
				if d := cmp.Diff(want, row); d != "" {
					t.Error(d)
				}
			}
		}
	})
}

func TestJSON(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		furnish(t, db)
		lines := bufio.NewScanner(bytes.NewReader(write(t, newExporter(t, db), export.JSON, store.CredentialFilter{Kind: "certificate"})))
		count := 0
		for lines.Scan() {
			var row store.CredentialRow
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.Kind != tallystick.KindCertificate || row.ID == "" {
				t.Fatalf("%v: %s", err, lines.Bytes())
			}
			count++
		}
		if count != estateSize {
			t.Errorf("%d lines, want %d", count, estateSize)
		}
	})
}

func TestCycloneDX(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		furnish(t, db)
		text := write(t, newExporter(t, db), export.CycloneDX, store.CredentialFilter{})
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		if bom.SpecVersion != cdx.SpecVersion1_6 || bom.Components == nil {
			t.Fatalf("version %v, components %v", bom.SpecVersion, bom.Components)
		}
		byRef := map[string]cdx.Component{}
		for _, c := range *bom.Components {
			if _, twice := byRef[c.BOMRef]; twice || c.BOMRef == "" || c.Name == "" || c.Type != cdx.ComponentTypeCryptographicAsset {
				t.Errorf("component %q, %q, %s", c.BOMRef, c.Name, c.Type)
			}
			byRef[c.BOMRef] = c
		}
		// Certificates, a key of each three, the container, two algorithms.
		if want := estateSize + estateSize/3 + 1 + 2; len(byRef) != want {
			t.Errorf("%d components, want %d", len(byRef), want)
		}
		for _, c := range byRef {
			checkRelations(t, c, byRef)
		}
		key := byRef["key:"+string(tallystick.KeyIDOf([]byte("key 0")))]
		if key.Evidence == nil || (*key.Evidence.Occurrences)[0].Location != "file:///etc/tls/0.key" {
			t.Errorf("the key does not say where it is: %+v", key.Evidence)
		}
	})
}

// checkRelations follows the references of a component.
func checkRelations(t *testing.T, c cdx.Component, byRef map[string]cdx.Component) {
	t.Helper()
	leads := func(ref cdx.BOMReference, to cdx.CryptoAssetType) {
		other, ok := byRef[string(ref)]
		if !ok || other.CryptoProperties.AssetType != to {
			t.Errorf("%s refers to %q, which is no %s", c.BOMRef, ref, to)
		}
	}
	switch p := c.CryptoProperties; {
	case p.CertificateProperties != nil:
		leads(p.CertificateProperties.SubjectPublicKeyRef, cdx.CryptoAssetTypeRelatedCryptoMaterial)
		leads(p.CertificateProperties.SignatureAlgorithmRef, cdx.CryptoAssetTypeAlgorithm)
		if c.Evidence == nil || len(*c.Evidence.Occurrences) != 1 {
			t.Errorf("%s does not say where it is", c.BOMRef)
		}
	case p.RelatedCryptoMaterialProperties != nil && p.RelatedCryptoMaterialProperties.Type == cdx.RelatedCryptoMaterialTypePublicKey:
		leads(p.RelatedCryptoMaterialProperties.AlgorithmRef, cdx.CryptoAssetTypeAlgorithm)
	case p.AlgorithmProperties != nil:
		if p.AlgorithmProperties.Primitive == "" || p.AlgorithmProperties.NistQuantumSecurityLevel == nil {
			t.Errorf("%s says too little: %+v", c.BOMRef, p.AlgorithmProperties)
		}
	}
}

func TestNothingIsWrittenForStrangers(t *testing.T) {
	e := newExporter(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")))
	if _, err := e.Open(t.Context(), gate.Actor{}, store.CredentialFilter{}); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Errorf("a stranger gets %v, want ErrUnsigned", err)
	}
	text := write(t, e, export.CycloneDX, store.CredentialFilter{})
	if !json.Valid(text) {
		t.Errorf("an empty inventory is no JSON: %s", text)
	}
}

func TestParseFormat(t *testing.T) {
	if _, err := export.ParseFormat("xls"); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}
