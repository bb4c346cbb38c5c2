// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestGroup(t *testing.T) {
	t.Parallel()
	p, _ := new(big.Int).SetString(group14, 16)
	if p.BitLen() != 2048 || !p.ProbablyPrime(8) || !new(big.Int).Rsh(p, 1).ProbablyPrime(8) {
		t.Error("the prime is mistyped")
	}
}

// The form is that of Microsoft's example in KB5014754.
func TestMapping(t *testing.T) {
	t.Parallel()
	name := pkix.RDNSequence{}
	for _, part := range [][2]any{{[]int{0, 9, 2342, 19200300, 100, 1, 25}, "com"}, {[]int{2, 5, 4, 10}, "Contoso, Inc"}, {[]int{2, 5, 4, 3}, "CONTOSO-DC-CA"}} {
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: part[0].([]int), Value: part[1]}})
	}
	der, err := written(func(b *cryptobyte.Builder) { b.MarshalASN1(name) })
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := new(big.Int).SetString("2B0000000011AC0000000012", 16)
	got := mappingOf(der, serial)
	if want := `X509:<I>DC=com,O="Contoso, Inc",CN=CONTOSO-DC-CA<SR>1200000000ac11000000002b`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if prefix, again, ok := serialIn(got); !ok || again.Cmp(serial) != 0 || !strings.HasSuffix(prefix, "<SR>") {
		t.Errorf("%s: %v %v", prefix, again, ok)
	}
	for _, value := range []string{"", "X509:<S>CN=x", "X509:<I>CN=x<SR>", "X509:<I>CN=x<SR>zz", "X509:<I>CN=x<SR>" + strings.Repeat("00", 65)} {
		if _, _, ok := serialIn(value); ok {
			t.Errorf("%q has a serial number", value)
		}
	}
}

func TestReadKDC(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]any{
		"": {false, []string(nil), false},
		"[kdc]\n enable-pkinit = yes\n pkinit_anchors = FILE:/a FILE:/b\n": {true, []string{"FILE:/a", "FILE:/b"}, false},
		"[kdc]\n#enable-pkinit = yes\n[realms]\n enable-pkinit = yes\n":    {false, []string(nil), false},
		"includedir /etc/krb5.conf.d/\n[kdc]\nenable-pkinit=TRUE\n":        {true, []string(nil), true},
	} {
		on, stores, included := readKDC(text)
		if d := cmp.Diff(want, []any{on, stores, included}); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
	}
}

func TestGlobals(t *testing.T) {
	t.Parallel()
	got := globals("# Global parameters\n[global]\n\trealm = LAB.TEST\n\ttls certfile = tls/cert.pem\n\n[sysvol]\n\trealm = other\n")
	if d := cmp.Diff(map[string]string{"realm": "LAB.TEST", "tls certfile": "tls/cert.pem"}, got); d != "" {
		t.Error(d)
	}
}

func TestPrincipals(t *testing.T) {
	t.Parallel()
	logons := lab.NewLogons(t)
	for _, want := range []string{"alice@lab.test", "krbtgt/LAB.TEST@LAB.TEST"} {
		m := logons.Client(t, want)
		if strings.HasPrefix(want, "krbtgt") {
			m = logons.KDC(t)
		}
		k, err := knownOf(m.Public)
		if err != nil || cmp.Diff([]string{want}, k.principals) != "" {
			t.Errorf("%q, %v", k.principals, err)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte{0x6b, 0})
	f.Add([]byte("\x7e\x0b\x30\x09\xa0\x03\x02\x01\x05\xa6\x03\x02\x01\x12"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		outcome, text := judge(answer)
		if outcome == driver.OutcomeAccepted && answer[0] != 0x6b || text == "" {
			t.Errorf("%x is %s", answer, outcome)
		}
	})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"": driver.OutcomeFailed, "\x6b\x00": driver.OutcomeAccepted, "\x7e\x00": driver.OutcomeFailed,
		"\x7e\x0c\x30\x0a\xa0\x03\x02\x01\x05\xa6\x03\x02\x01\x12": driver.OutcomeRefused,
		"\x7e\x0c\x30\x0a\xa0\x03\x02\x01\x05\xa6\x03\x02\x01\x19": driver.OutcomeFailed,
	} {
		if got, text := judge([]byte(answer)); got != want {
			t.Errorf("%x is %s (%s), want %s", answer, got, text, want)
		}
	}
}

func FuzzPrincipal(f *testing.F) {
	f.Add([]byte("\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x03\x0c\x01a"))
	f.Add([]byte("\x06\x06\x2b\x06\x01\x05\x02\x02\xa0\x02\x30\x00"))
	f.Fuzz(func(_ *testing.T, name []byte) { principal(name) })
}
