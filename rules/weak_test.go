// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
)

func weakFixtures() map[string]fixture {
	bare := func(make func(testing.TB) []byte) func(testing.TB) rule.Subject {
		return func(t testing.TB) rule.Subject { return subject(keyCredential(t, make(t))) }
	}
	sound := func(t testing.TB) []byte { return rsaSPKI(t, soundModulus(t, 2048), 65537) }
	return map[string]fixture{
		"roca": {
			Firing:   bare(func(t testing.TB) []byte { return rsaSPKI(t, infineonModulus(), 65537) }),
			Silent:   bare(sound),
			Evidence: "Infineon",
		},
		"close-primes": {
			Firing:   bare(func(t testing.TB) []byte { return rsaSPKI(t, neighbours(t), 65537) }),
			Silent:   bare(sound),
			Evidence: "round 1 ",
		},
		"weak-key": {
			Firing:   bare(func(t testing.TB) []byte { return rsaSPKI(t, soundModulus(t, 1024), 65537) }),
			Silent:   bare(sound),
			Evidence: "RSA of 1024 bits",
		},
		"small-exponent": {
			Firing:   bare(func(t testing.TB) []byte { return rsaSPKI(t, soundModulus(t, 2048), 3) }),
			Silent:   bare(sound),
			Evidence: "exponent is 3",
		},
		"compromised-key": {
			Firing:   func(t testing.TB) rule.Subject { return subject(everybodysCertificate(t)) },
			Silent:   bare(sound),
			Evidence: "net/http/internal/testcert",
		},
		"shared-prime": {
			FiringEstate: func(t testing.TB) rule.Estate { return primeEstate(t, true) },
			SilentEstate: func(t testing.TB) rule.Estate { return primeEstate(t, false) },
			Evidence:     "a prime of 1024 bits",
		},
		"shared-nonce": {
			FiringEstate: func(t testing.TB) rule.Estate { return nonceEstate(t, true) },
			SilentEstate: func(t testing.TB) rule.Estate { return nonceEstate(t, false) },
			Evidence:     "the key can be computed",
		},
	}
}

// rsaSPKI writes an RSA key by hand, because crypto/x509 refuses odd ones.
func rsaSPKI(t testing.TB, n *big.Int, e int64) []byte {
	t.Helper()
	return spki(t, "1.2.840.113549.1.1.1", asn1.NullRawValue, struct{ N, E *big.Int }{n, big.NewInt(e)})
}

func spki(t testing.TB, algorithm string, parameters, key any) []byte {
	t.Helper()
	var oid asn1.ObjectIdentifier
	for _, arc := range strings.Split(algorithm, ".") {
		n, _ := new(big.Int).SetString(arc, 10)
		oid = append(oid, int(n.Int64()))
	}
	params, err := asn1.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	bits, err := asn1.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: params}},
		asn1.BitString{Bytes: bits, BitLength: 8 * len(bits)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyCredential(t testing.TB, der []byte) *tallystick.Credential {
	t.Helper()
	key, err := parse.Key(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tallystick.Credential{ID: tallystick.FingerprintOf(der), Kind: tallystick.KindKey, Key: key, Raw: der}
}

func randomPrime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func soundModulus(t testing.TB, bits int) *big.Int {
	p := randomPrime(t, bits/2)
	return p.Mul(p, randomPrime(t, bits/2))
}

// neighbours is the product of a prime and the next one.
func neighbours(t testing.TB) *big.Int {
	p := randomPrime(t, 1024)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(5) {
		q.Add(q, big.NewInt(2))
	}
	return q.Mul(q, p)
}

// infineonModulus is a power of 65537 modulo the product of the first 39 primes,
// as the moduli of RSALib are (Nemec et al. 2017, section 2.1).
func infineonModulus() *big.Int {
	m := big.NewInt(1)
	for p := int64(2); p <= 167; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	return n.Add(n, m.Lsh(m, uint(2047-m.BitLen())))
}

// everybodysCertificate is the one that Go's test servers show.
func everybodysCertificate(t testing.TB) *tallystick.Credential {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return read(t, server.Certificate().Raw)
}

// primeEstate has three RSA keys, two of which share a prime or not; and the
// same modulus again under another exponent, which shares nothing by that.
func primeEstate(t testing.TB, shared bool) rule.Estate {
	t.Helper()
	p, q := randomPrime(t, 1024), randomPrime(t, 1024)
	if shared {
		q = p
	}
	estate := fakeEstate{kept: map[string][]byte{}}
	first := new(big.Int).Mul(p, randomPrime(t, 1024))
	add := func(n *big.Int, e int64) {
		c := keyCredential(t, rsaSPKI(t, n, e))
		estate.keys = append(estate.keys, rule.KeyUse{Key: c.Key, Credentials: []rule.KeyBearer{{ID: c.ID, Kind: c.Kind}}})
	}
	add(first, 65537)
	add(first, 257)
	add(new(big.Int).Mul(q, randomPrime(t, 1024)), 65537)
	add(soundModulus(t, 2048), 65537)
	return estate
}

// TestSharedPrimeNames shows that each credential of each key that shares a
// prime is named with the key it shares it with, and no other.
func TestSharedPrimeNames(t *testing.T) {
	estate := primeEstate(t, true).(fakeEstate)
	var ids []tallystick.Fingerprint
	err := surveyPrimes(t.Context(), estate, func(hit rule.Hit) error {
		ids = append(ids, hit.Credential)
		other := estate.keys[2].Key.ID
		if hit.Credential == estate.keys[2].Credentials[0].ID {
			other = min(estate.keys[0].Key.ID, estate.keys[1].Key.ID)
		}
		if !strings.HasSuffix(hit.Evidence, "the key "+other.Short()) {
			t.Errorf("evidence %q does not end with the key %s", hit.Evidence, other.Short())
		}
		return nil
	})
	if err != nil || len(ids) != 3 {
		t.Errorf("%d hits, error %v; not three", len(ids), err)
	}
}

func TestWeakKeySizes(t *testing.T) {
	type numbers struct{ P, Q, G *big.Int }
	long := new(big.Int).Lsh(big.NewInt(1), 20000)
	dsa := func(bits uint) []byte {
		p := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return spki(t, "1.2.840.10040.4.1", numbers{p, big.NewInt(7), big.NewInt(2)}, big.NewInt(5))
	}
	curve := func(oid asn1.ObjectIdentifier) []byte { return spki(t, "1.2.840.10045.2.1", oid, 4) }
	even := soundModulus(t, 2048)
	even.SetBit(even, 0, 0)
	for _, row := range []struct {
		name     string
		spki     []byte
		evidence string
		severity tallystick.Severity
	}{
		{"RSA-512", rsaSPKI(t, soundModulus(t, 512), 65537), "RSA of 512 bits", tallystick.SeverityCritical},
		{"RSA-3072", rsaSPKI(t, soundModulus(t, 3072), 65537), "", 0},
		{"even RSA", rsaSPKI(t, even, 65537), "divisible by 2", tallystick.SeverityCritical},
		{"negative RSA", rsaSPKI(t, new(big.Int).Neg(even), 65537), "not a positive number", tallystick.SeverityCritical},
		{"RSA-20001", rsaSPKI(t, long.SetBit(long, 0, 1), 65537), "20001 bits", tallystick.SeverityMedium},
		{"DSA-1024", dsa(1024), "DSA of 1024 bits", tallystick.SeverityHigh},
		{"DSA-3072", dsa(3072), "no new signatures", tallystick.SeverityMedium},
		{"P-192", curve(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 1}), "192 bits", tallystick.SeverityHigh},
		{"P-256", curve(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}), "", 0},
		{"no curve", curve(asn1.ObjectIdentifier{1, 2, 3}), "not one that is known", tallystick.SeverityMedium},
	} {
		hits := weakKey().Check(subject(keyCredential(t, row.spki)))
		switch {
		case len(hits) == 0 && row.evidence == "":
		case len(hits) != 1 || row.evidence == "":
			t.Errorf("%s: %+v, want %q", row.name, hits, row.evidence)
		case !strings.Contains(hits[0].Evidence, row.evidence) || hits[0].Severity != row.severity:
			t.Errorf("%s: %v %q, want %v %q", row.name, hits[0].Severity, hits[0].Evidence, row.severity, row.evidence)
		}
	}
}

func TestImpossibleExponents(t *testing.T) {
	n := soundModulus(t, 2048)
	for e, want := range map[int64]tallystick.Severity{
		-3: tallystick.SeverityCritical, 0: tallystick.SeverityCritical, 1: tallystick.SeverityCritical, 65536: tallystick.SeverityCritical,
		17: tallystick.SeverityLow, 65539: 0,
	} {
		var got tallystick.Severity
		for _, hit := range checkExponent(subject(keyCredential(t, rsaSPKI(t, n, e)))) {
			got = hit.Severity
		}
		if got != want {
			t.Errorf("e=%d: %v, not %v", e, got, want)
		}
	}
}

// TestWeakWhereItMatters shows that a sample that came with a package is
// nobody's to mend, and that a line of authorized_keys is.
func TestWeakWhereItMatters(t *testing.T) {
	c := everybodysCertificate(t)
	sample := held("/usr/share/doc/server/key.pem", tallystick.FileFacts{Mode: "0644"})
	stray := held("/srv/key.pem", tallystick.FileFacts{Mode: "0600"})
	line := tallystick.Sighting{Place: tallystick.FilePlace("/root/.ssh/authorized_keys"), Role: tallystick.RoleAccepts}
	for _, row := range []struct {
		name      string
		sightings []tallystick.Sighting
		want      tallystick.Severity
	}{
		{"sample", []tallystick.Sighting{sample}, tallystick.SeverityInfo},
		{"stray file", []tallystick.Sighting{sample, stray}, tallystick.SeverityLow},
		{"accepted", []tallystick.Sighting{stray, line}, tallystick.SeverityCritical},
	} {
		hits := compromisedKey().Check(subject(c, row.sightings...))
		if len(hits) != 1 || hits[0].Severity != row.want {
			t.Errorf("%s: %+v, want %v", row.name, hits, row.want)
		}
	}
}

func TestCompromisedKeysAreWellFormed(t *testing.T) {
	list := compromised()
	for id, why := range list {
		if raw, err := hex.DecodeString(string(id)); err != nil || len(raw) != 32 || strings.ToLower(string(id)) != string(id) {
			t.Errorf("%s: %q is not a SHA-256 in lower case", why.name, id)
		}
		if why.name == "" || why.reason == "" || !strings.HasPrefix(why.source, "https://") {
			t.Errorf("%s has no name, reason or source: %+v", id, why)
		}
	}
	if len(list) < 90 {
		t.Errorf("%d keys: some are listed twice, or missing", len(list))
	}
}

// BenchmarkWeak judges a sound RSA-2048 key by each rule.
func BenchmarkWeak(b *testing.B) {
	s := subject(keyCredential(b, rsaSPKI(b, soundModulus(b, 2048), 65537)))
	for _, r := range weakRules() {
		if r.Check == nil {
			continue
		}
		b.Run(r.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Check(s)
			}
		})
	}
}
