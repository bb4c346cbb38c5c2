// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/internal/store"
)

var keyKinds = []string{"ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"}

// Lists of every kind of key are read by three programs that did not make them.
func TestOthersReadOurLists(t *testing.T) {
	for _, kind := range keyKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			key := newKey(t, kind)
			ca := newCA(t, "Lab CA", key)
			dir := t.TempDir()
			caFile := writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.Raw)
			for _, n := range []int{0, 1, 3, 1500} {
				e := newEntries(ca, 0)
				for i := range n {
					e.add(dead(i))
				}
				now := time.Now().Truncate(time.Second) // certtool has no other clock
				l, err := e.seal(face{issuer: ca, number: 1 << 40, this: now, next: now.Add(time.Hour)}, key)
				must(t, err)
				parsed, err := x509.ParseRevocationList(l.List)
				must(t, err)
				must(t, parsed.CheckSignatureFrom(ca))
				if len(parsed.RevokedCertificateEntries) != n || int(l.Entries) != n || parsed.Number.Int64() != 1<<40 ||
					!parsed.ThisUpdate.Equal(now) || !bytes.Equal(parsed.AuthorityKeyId, ca.SubjectKeyId) {
					t.Errorf("%d entries became %+v", n, parsed)
				}
				file := writePEM(t, filepath.Join(dir, fmt.Sprintf("%d.pem", n)), "X509 CRL", l.List)
				if said := tool(t, "openssl", "crl", "-in", file, "-noout", "-verify", "-CAfile", caFile); !strings.Contains(said, "verify OK") {
					t.Errorf("openssl says %s", said)
				}
				if said := tool(t, "certtool", "--verify-crl", "--load-ca-certificate", caFile, "--infile", file); !strings.Contains(said, "Verified.") {
					t.Errorf("certtool says %s", said)
				}
			}
		})
	}
}

// The encoding is that of the standard library, octet for octet, up to the signature.
func TestTheBodyIsThatOfTheStandardLibrary(t *testing.T) {
	key := newKey(t, "ed25519") // whose signatures are always the same
	ca := newCA(t, "Lab CA", key)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "n")
		template := &x509.RevocationList{Number: big.NewInt(rapid.Int64Range(1, 1<<62).Draw(t, "number")), ThisUpdate: noon,
			NextUpdate: noon.AddDate(rapid.IntRange(0, 30).Draw(t, "years"), 0, 1)}
		e := newEntries(ca, 0)
		for i := range n {
			r := store.Revocation{Serial: append([]byte{byte(i >> 8), byte(i)}, rapid.SliceOfN(rapid.Byte(), 2, 18).Draw(t, "serial")...)}
			r.Serial = append(bytes.Repeat([]byte{1}, 20-len(r.Serial)), r.Serial...)
			copy(r.Serial, []byte{byte(rapid.IntRange(0, 1).Draw(t, "zero")) * 0x80, byte(i >> 8), byte(i)})
			r.At = noon.Add(time.Duration(rapid.IntRange(-50*365, 60*365).Draw(t, "at")) * 24 * time.Hour)
			r.Reason = rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 9, 10}).Draw(t, "reason")
			if rapid.Bool().Draw(t, "invalid") {
				r.InvalidSince = r.At.Add(-time.Hour)
			}
			e.add(r)
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, standardEntry(t, r))
		}
		slices.SortFunc(template.RevokedCertificateEntries, func(a, b x509.RevocationListEntry) int { return a.SerialNumber.Cmp(b.SerialNumber) })
		l, err := e.seal(face{issuer: ca, number: template.Number.Int64(), this: template.ThisUpdate, next: template.NextUpdate}, key)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.CreateRevocationList(rand.Reader, template, ca, key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, l.List) {
			t.Fatalf("ours:\n%x\nthe standard library's:\n%x", l.List, want)
		}
	})
}

// standardEntry is an entry as the standard library takes it.
func standardEntry(t *rapid.T, r store.Revocation) x509.RevocationListEntry {
	e := x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(r.Serial), RevocationTime: r.At, ReasonCode: r.Reason}
	if !r.InvalidSince.IsZero() {
		since, err := asn1.MarshalWithParams(r.InvalidSince, "generalized")
		if err != nil {
			t.Fatal(err)
		}
		e.ExtraExtensions = []pkix.Extension{{Id: oidInvalidity, Value: since}}
	}
	return e
}

// Merging is the same as making anew, whatever is merged.
func TestMergeIsTheSameAsMakingAnew(t *testing.T) {
	key := newKey(t, "ed25519")
	ca := newCA(t, "Lab CA", key)
	f := face{issuer: ca, number: 2, this: noon, next: noon.Add(time.Hour)}
	rapid.Check(t, func(t *rapid.T) {
		all := map[int]store.Revocation{}
		draw := func(label string) []store.Revocation {
			var list []store.Revocation
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 30, rapid.ID).Draw(t, label) {
				r := dead(n)
				if _, known := all[n]; known { // it was raised
					r.Reason = 1
				}
				all[n] = r
				list = append(list, r)
			}
			return list
		}
		first := newEntries(ca, 0)
		for _, r := range draw("first") {
			first.add(r)
		}
		old, err := first.seal(f, key)
		if err != nil {
			t.Fatal(err)
		}
		merged, err := merge(ca, old.entries(), old.Entries, draw("second")).seal(f, key)
		if err != nil {
			t.Fatal(err)
		}
		anew := newEntries(ca, 0)
		for _, r := range all {
			anew.add(r)
		}
		want, err := anew.seal(f, key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.List, merged.List) || merged.Entries != int64(len(all)) {
			t.Fatalf("%d entries, want %d", merged.Entries, len(all))
		}
	})
}

func TestAShardNamesItself(t *testing.T) {
	key := newKey(t, "ecdsa-p256")
	ca := newCA(t, "Lab CA", key)
	l, err := newEntries(ca, 0).seal(face{issuer: ca, number: 1, this: noon, next: noon.Add(time.Hour), url: "http://pki.example/pki/lab/3.crl"}, key)
	must(t, err)
	parsed, err := x509.ParseRevocationList(l.List)
	must(t, err)
	at := -1
	for i, extension := range parsed.Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) && extension.Critical {
			at = i
		}
	}
	if at < 0 {
		t.Fatal("it has no critical issuing distribution point")
	}
	file := writePEM(t, filepath.Join(t.TempDir(), "crl.pem"), "X509 CRL", l.List)
	said := tool(t, "openssl", "crl", "-in", file, "-noout", "-text")
	for _, want := range []string{"Issuing Distribution Point: critical", "URI:http://pki.example/pki/lab/3.crl", "Only User Certificates", "No Revoked Certificates."} {
		if !strings.Contains(said, want) {
			t.Errorf("openssl does not say %q:\n%s", want, said)
		}
	}
	if read, err := ReadList(l.List); err != nil || read.Part == "" {
		t.Errorf("read as a complete list: %v", err)
	}
}

func TestReadListReadsWhatOthersMake(t *testing.T) {
	for _, kind := range keyKinds {
		key := newKey(t, kind)
		ca, other := newCA(t, "Lab CA", key), newCA(t, "Lab CA", newKey(t, "ecdsa-p256"))
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(9), ThisUpdate: noon, NextUpdate: noon.AddDate(30, 0, 0),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(77), RevocationTime: noon, ReasonCode: 3}}}, ca, key)
		must(t, err)
		l, err := ReadList(der)
		must(t, err)
		must(t, l.Verify(ca))
		var got []Entry
		must(t, l.Each(func(e Entry) error { got = append(got, e); return nil }))
		if d := cmp.Diff([]Entry{{Serial: []byte{77}, At: noon, Reason: 3}}, got); d != "" || l.Number.Int64() != 9 || !l.NextUpdate.Equal(noon.AddDate(30, 0, 0)) {
			t.Errorf("%+v\n%s", l, d)
		}
		if l.Verify(other) == nil {
			t.Error("verified with another key of the same name")
		}
		broken := bytes.Clone(der)
		broken[len(l.Issuer)+60] ^= 1
		if l, err := ReadList(broken); err == nil && l.Verify(ca) == nil {
			t.Error("a changed list was verified")
		}
	}
}

func TestACriticalExtensionIsNotPassedOver(t *testing.T) {
	key := newKey(t, "ecdsa-p256")
	ca := newCA(t, "Lab CA", key)
	for _, part := range []bool{true, false} {
		id := asn1.ObjectIdentifier{1, 2, 3, 4}
		if part {
			id = oidDelta
		}
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(9), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour),
			ExtraExtensions: []pkix.Extension{{Id: id, Critical: true, Value: []byte{2, 1, 1}}}}, ca, key)
		must(t, err)
		l, err := ReadList(der)
		if part && (err != nil || l.Part == "") || !part && err == nil {
			t.Errorf("%s: %+v, %v", id, l, err)
		}
	}
}

func FuzzReadList(f *testing.F) {
	key := newKey(f, "ed25519")
	ca := newCA(f, "Lab CA", key)
	for _, n := range []int{0, 4} {
		e := newEntries(ca, 0)
		for i := range n {
			e.add(dead(i))
		}
		l, err := e.seal(face{issuer: ca, number: 1, this: noon, next: noon.Add(time.Hour), url: strings.Repeat("u", n)}, key)
		must(f, err)
		f.Add(l.List)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		l, err := ReadList(der)
		if err != nil {
			return
		}
		_ = l.Verify(ca)
		n, countErr := l.Count()
		read := int64(0)
		err = l.Each(func(Entry) error { read++; return nil })
		if err == nil && (countErr != nil || n != read) {
			t.Errorf("%d entries were counted and %d read: %v", n, read, countErr)
		}
	})
}

func TestMain(m *testing.M) {
	if os.Getenv("TALLY_TEST_PUBLISH") != "" {
		publishForEver()
	}
	os.Exit(m.Run())
}
